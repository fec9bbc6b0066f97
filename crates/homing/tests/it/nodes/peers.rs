//! Peers that die, refuse, or do not exist: the error, and the peer that takes over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use homing::discover::{DnsConfig, DnsTemplate, StaticPeers};
use homing::report::AnsweredBy;
use homing::{Consistency, Node, Repo, Secret};
use homing_testbed::{Cut, DnsView, Relay, wait_until};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fixture::{
    NewUser, PATIENCE, Reports, Servers, User, World, in_iad, recorded, region, start, wait_until_running,
};

/// A world whose node in `syd` reaches two nodes in `iad`, each through a relay that can be cut.
struct TwoPeers {
    world: World,
    syd: Node,
    relays: [Relay; 2],
    _second: Node,
}

impl TwoPeers {
    async fn start() -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        let second = servers.primary_node(&world.database).await;
        let relays = [&world.iad, &second].map(|node| Relay::start(node.local_addr().unwrap()).unwrap());
        let peers = in_iad(relays.each_ref().map(Relay::address));
        let syd = servers.replica_node(&world.database, peers).await;
        Self { world, syd, relays, _second: second }
    }

    fn repo(&self) -> (Repo, Reports) {
        recorded(&self.syd.repo())
    }

    /// Which of the relays the last call went through.
    fn used(&self, reports: &Reports) -> usize {
        let AnsweredBy::Peer(peer) = reports.last().answered_by else { panic!("it was answered here") };
        self.relays.iter().position(|relay| relay.address() == peer.address).unwrap()
    }
}

#[tokio::test]
async fn calls_move_from_dead_peer() {
    let two = TwoPeers::start().await;
    let (repo, reports) = two.repo();
    // One fewer than a pool has connections: all of them may go to the second peer, if it is up first.
    let calls: Vec<_> = (0..3)
        .map(|number| {
            let repo = repo.with_call_timeout(PATIENCE);
            let sql = "insert into users (name) select $1 from pg_sleep(61)";
            tokio::spawn(async move { repo.execute(sql, &[&format!("in flight {number}")]).await })
        })
        .collect();
    wait_until_running(&two.world.primary, "%pg_sleep(61)%", 3).await;

    two.relays[0].cut(Cut::Reset).await;
    let user = timeout(PATIENCE, repo.insert(&NewUser::named("Ada"))).await.unwrap().unwrap();
    assert_eq!(two.used(&reports), 1);
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));

    two.relays[1].cut(Cut::Reset).await;
    for call in calls {
        let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
        assert!(error.is_outcome_unknown() && !error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("iad"), "{error}");
    }
    let error = timeout(PATIENCE, repo.insert(&NewUser::named("Grace"))).await.unwrap().unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");

    two.relays[0].heal().await.unwrap();
    wait_until("a peer is back", async || repo.insert(&NewUser::named("Edsger")).await.is_ok()).await;
}

#[tokio::test]
async fn node_connects_before_first_write() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let relay = Relay::start(world.iad.local_addr().unwrap()).unwrap();
    let _syd = servers.replica_node(&world.database, in_iad([relay.address()])).await;
    let mut connections = relay.connections();
    let connected = timeout(PATIENCE, connections.wait_for(|open| *open == 1)).await;
    connected.expect("the node did not connect to its peer").unwrap();
}

#[tokio::test]
async fn at_most_one_call_notices_death() {
    let two = TwoPeers::start().await;
    let (repo, reports) = two.repo();
    let mut unknown = Vec::new();
    for number in 0..40 {
        if number == 20 {
            let used = two.used(&reports);
            two.relays[used].cut(Cut::Reset).await;
        }
        if let Err(error) = repo.insert(&NewUser::named(&format!("user {number}"))).await {
            // The request went to a connection whose end was not known yet.
            assert!(error.is_outcome_unknown(), "{error:?}");
            unknown.push(number);
        }
    }
    assert!(unknown.is_empty() || unknown == [20], "{unknown:?}");
    let stored = two.world.users_on_replica().await;
    assert!((40 - i64::try_from(unknown.len()).unwrap()..=40).contains(&stored), "{stored}");
}

#[tokio::test]
async fn peer_without_primary_is_skipped() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let demoted = servers.demoted_node(&world.database).await;
    let addresses = [demoted.local_addr().unwrap(), world.iad.local_addr().unwrap()];
    let syd = servers.replica_node(&world.database, in_iad(addresses)).await;
    for number in 0..20 {
        syd.repo().insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
    }

    let only = in_iad([demoted.local_addr().unwrap()]);
    let syd = servers.replica_node(&world.database, only).await;
    let error = syd.repo().insert(&NewUser::named("Ada")).await.unwrap_err();
    assert!(error.is_not_sent() && error.is_not_primary(), "{error:?}");
}

#[tokio::test]
async fn error_says_where_no_peer_was() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let free = Relay::start(([127, 0, 0, 1], 1).into()).unwrap();
    free.cut(Cut::Reset).await;
    for (peers, expected) in
        [(StaticPeers::none(), "iad".to_owned()), (in_iad([free.address()]), free.address().to_string())]
    {
        let syd = servers.replica_node(&world.database, peers).await;
        let repo = syd.repo();
        let error = timeout(PATIENCE, repo.insert(&NewUser::named("Ada"))).await.unwrap().unwrap_err();
        assert!(error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 0, "reads go on");
        let error = repo.rpc::<u64>("import", &["Ada"]).await.unwrap_err();
        assert!(error.is_not_sent(), "{error:?}");
    }
}

#[tokio::test]
async fn wrong_secret_is_rejected() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    for secret in [Some("another-secret-that-is-long-enough"), None] {
        let peers = world.peers();
        let mut config = servers.replica_config(&world.database, peers);
        config.secret = secret.map(|secret| Secret::new(secret).unwrap());
        let syd = start(config).await.unwrap();
        let error = timeout(PATIENCE, syd.repo().insert(&NewUser::named("Ada"))).await.unwrap().unwrap_err();
        assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("HOMING_SECRET"), "{error}");
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn silent_link_leaves_outcome_unknown() {
    let two = TwoPeers::start().await;
    let (repo, _) = two.repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    for relay in &two.relays {
        relay.cut(Cut::Blackhole).await;
    }
    let impatient = repo.with_call_timeout(Duration::from_millis(500));
    let error = timeout(PATIENCE, impatient.insert(&NewUser::named("Grace"))).await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn unanswered_read_is_not_sent() {
    let two = TwoPeers::start().await;
    let (repo, _) = two.repo();
    let ada: User = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let (id, global) = (ada.id, repo.with_consistency(Consistency::Global));
    // A replica shows that the statements only read.
    assert_eq!(repo.all::<User>("where age > $1", &[&1]).await.unwrap(), [ada]);
    assert_eq!(repo.query("select 7", &[]).await.unwrap().len(), 1);
    for relay in &two.relays {
        relay.cut(Cut::Blackhole).await;
    }
    let global = global.with_call_timeout(Duration::from_millis(500));
    let errors = [
        timeout(PATIENCE, global.get::<User>(id)).await.unwrap().unwrap_err(),
        timeout(PATIENCE, global.query("select 7", &[])).await.unwrap().unwrap_err(),
        timeout(PATIENCE, global.all::<User>("where age > $1", &[&1])).await.unwrap().unwrap_err(),
        timeout(PATIENCE, global.primary_position()).await.unwrap().unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_not_sent() && !error.is_outcome_unknown(), "{error:?}");
    }
}

#[tokio::test]
async fn shutdown_finishes_calls_in_flight() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let second = servers.primary_node(&world.database).await;
    let peers = in_iad(second.local_addr());
    let syd = Arc::new(servers.replica_node(&world.database, peers).await);
    let call = {
        let repo = syd.repo();
        let sql = "insert into users (name) select 'Ada' from pg_sleep(0.5)";
        tokio::spawn(async move { repo.execute(sql, &[]).await })
    };
    wait_until_running(&world.primary, "%pg_sleep(0.5)%", 1).await;
    timeout(PATIENCE, second.shutdown()).await.unwrap();
    assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap().unwrap(), 1);
    let error = syd.repo().insert(&NewUser::named("Grace")).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
}

/// All nodes of the primary region are replaced at once. Their name is good for an hour.
#[tokio::test]
async fn replaced_peers_are_found_early() {
    let (servers, world) = (Servers::shared().await, World::shared().await);
    let dns = DnsView::start().unwrap();
    dns.set_ttl(Duration::from_secs(3600));
    dns.set_addresses("here.test", [IpAddr::from([127, 0, 0, 1])]).unwrap();
    let publish = |nodes: &[Node]| {
        let ports = nodes.iter().map(|node| ("here.test", node.local_addr().unwrap().port()));
        dns.set_services("iad.test", ports).unwrap();
    };
    let two = async || [servers.primary_node(&world.database).await, servers.primary_node(&world.database).await];
    let old = two().await;
    publish(&old);
    let settings = DnsConfig::default().with_server(dns.address());
    let discover = DnsTemplate::new("srv:{region}.test", None, [region("iad")], 0, &settings).unwrap();
    let mut config = servers.replica_config(&world.database, StaticPeers::none());
    config.discover = Arc::new(discover);
    let syd = start(config).await.unwrap();

    let written = Arc::new(watch::Sender::new([0; 8]));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (repo, written) = (syd.repo(), Arc::clone(&written));
            tokio::spawn(async move {
                for number in 0.. {
                    // A write that was under way when its peer died may fail.
                    if repo.insert(&NewUser::named(&format!("{writer} {number}"))).await.is_ok() {
                        written.send_modify(|written| written[writer] += 1);
                    }
                }
            })
        })
        .collect();
    let all_go_on = async || {
        let before = *written.borrow();
        let more = |now: &[u64; 8]| now.iter().zip(before).all(|(now, before)| *now > before + 10);
        timeout(PATIENCE, written.subscribe().wait_for(more)).await.expect("writes do not go on").unwrap();
    };
    all_go_on().await;
    let new = two().await;
    drop(old);
    publish(&new);
    all_go_on().await;
    writers.iter().for_each(tokio::task::JoinHandle::abort);
}
