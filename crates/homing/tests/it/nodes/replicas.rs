//! Several replicas: which one answers, and what happens when one is gone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use homing::replicas::{Choose, Health, Measure, Replica, ReplicaList, ReplicaSettings, ReplicaStatus};
use homing::report::AnsweredBy;
use homing::{Config, Node};
use homing_testbed::Postgres;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::named::{FIRST, Named, SECOND};
use crate::fixture::{NewUser, PATIENCE, Reports, Servers, User, World, config, recorded, start};

/// The node probes replicas often, so that tests are quick.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

const MAX_LAG: Duration = Duration::from_millis(300);

/// A primary with two replicas, and a node in `syd` that reads from both.
struct Three {
    servers: Servers,
    second: Postgres,
    world: World,
    list: ReplicaList,
    syd: Node,
}

impl Three {
    async fn start() -> Self {
        Self::start_with(settings()).await
    }

    async fn start_with(settings: ReplicaSettings) -> Self {
        let servers = Servers::start(&[]).await;
        let options = Postgres::options().with_name("second").with_max_connections(300);
        let second = options.start_replica_of(&servers.primary).await.unwrap();
        let world = servers.world().await;
        second.caught_up_with(&servers.primary).await.unwrap();
        let urls = [&servers.replica, &second].map(|server| server.database_url(&world.database));
        let list = ReplicaList::new(["a", "b"].into_iter().zip(urls).map(|(name, url)| replica(name, &url))).unwrap();
        let syd = start(away(&world, &list, settings)).await.unwrap();
        Self { servers, second, world, list, syd }
    }

    async fn wait_for(&self, name: &str, health: Health) -> Vec<ReplicaStatus> {
        wait_for(&self.syd, |status| status.iter().any(|one| *one.name == *name && one.health == health)).await
    }
}

fn settings() -> ReplicaSettings {
    ReplicaSettings::default().with_probe_interval(PROBE_INTERVAL)
}

fn replica(name: &str, url: &str) -> Replica {
    Replica::new(url).unwrap().with_name(name)
}

/// A node in `syd` that reads from these replicas.
fn away(world: &World, list: &ReplicaList, settings: ReplicaSettings) -> Config {
    let mut config = config("syd");
    config.replicas = Some(list.clone());
    config.replica_settings = settings;
    let peers = world.peers();
    config.discover = Arc::new(peers);
    config
}

async fn wait_for(node: &Node, fits: impl FnMut(&[ReplicaStatus]) -> bool) -> Vec<ReplicaStatus> {
    let repo = node.repo();
    match timeout(PATIENCE, repo.replicas().wait_for(fits)).await {
        Ok(status) => status,
        Err(_) => panic!("still {:?}", repo.replicas().status()),
    }
}

/// The servers that have answered so far: names of replicas, or `primary`.
fn answered(reports: &Reports) -> BTreeSet<String> {
    let who = |report: homing::report::Report| match (report.replica, report.answered_by) {
        (Some(name), AnsweredBy::Local) => name.to_string(),
        (None, _) => "primary".to_owned(),
        (replica, by) => panic!("{replica:?} {by:?}"),
    };
    reports.take().into_iter().map(who).collect()
}

async fn read(repo: &homing::Repo, times: usize) {
    for _ in 0..times {
        repo.query("select count(*) from users", &[]).await.unwrap();
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn other_replica_replaces_dead_one() {
    let three = Three::start().await;
    let (repo, reports) = recorded(&three.syd.repo().with_choose(Choose::Random));
    read(&repo, 50).await;
    assert_eq!(answered(&reports), names(["a", "b"]));

    three.servers.replica.kill().await.unwrap();
    read(&repo, 50).await;
    assert_eq!(answered(&reports), names(["b"]), "reads that find it dead go on to the other");
    three.wait_for("a", Health::Down).await;
    assert_eq!(repo.replica("a").unwrap().query("select 1", &[]).await.unwrap().len(), 1);
    assert_eq!(answered(&reports), names(["primary"]));

    three.servers.replica.start_again().await.unwrap();
    three.wait_for("a", Health::Up).await;
    read(&repo.session(), 50).await;
    assert_eq!(answered(&reports), names(["a", "b"]));
}

#[tokio::test]
async fn lagging_replica_is_left_out() {
    let three = Three::start_with(settings().with_max_lag(MAX_LAG)).await;
    let (repo, reports) = recorded(&three.syd.repo().with_choose(Choose::Random));
    three.servers.replica.pause_replay().await.unwrap();
    three.world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let status = three.wait_for("a", Health::TooFarBehind).await;
    let a = status.iter().find(|status| &*status.name == "a").unwrap();
    assert!(a.lag.unwrap() > MAX_LAG && a.lag_bytes.unwrap() > 0, "{a:?}");
    read(&repo, 50).await;
    assert_eq!(answered(&reports), names(["b"]));
    read(&repo.replica("a").unwrap(), 1).await;
    assert_eq!(answered(&reports), names(["primary"]), "it is older than what this session has read");
    read(&repo.session().replica("a").unwrap(), 1).await;
    assert_eq!(answered(&reports), names(["a"]), "who asks for it by name gets it");

    three.second.pause_replay().await.unwrap();
    three.world.iad.repo().insert(&NewUser::named("Grace")).await.unwrap();
    three.wait_for("b", Health::TooFarBehind).await;
    read(&repo, 5).await;
    assert_eq!(answered(&reports), names(["primary"]), "there is none left");

    three.servers.replica.resume_replay().await.unwrap();
    three.wait_for("a", Health::Up).await;
    read(&repo.session(), 5).await;
    assert_eq!(answered(&reports), names(["a"]));
}

#[tokio::test]
async fn bytes_limit_lag_too() {
    let three = Three::start_with(settings().with_max_lag(None).with_max_lag_bytes(1024 * 1024)).await;
    three.servers.replica.pause_replay().await.unwrap();
    let sql = "select pg_logical_emit_message(false, 'p', repeat('x', 2 * 1024 * 1024))";
    three.world.primary.execute(sql, &[]).await.unwrap();
    three.wait_for("a", Health::TooFarBehind).await;
    three.servers.replica.resume_replay().await.unwrap();
    three.wait_for("a", Health::Up).await;
}

#[tokio::test]
async fn lagging_replica_answers_without_primary() {
    let three = Three::start_with(settings().with_max_lag(MAX_LAG)).await;
    three.list.remove("b");
    three.servers.replica.pause_replay().await.unwrap();
    three.world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    three.wait_for("a", Health::TooFarBehind).await;
    let (repo, reports) = recorded(&three.syd.repo());
    let strict = three.syd.repo().with_on_lag(homing::OnLag::Fail);
    let Three { world, syd: _syd, .. } = three;
    world.iad.shutdown().await;
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 0);
    read(&repo, 1).await;
    assert_eq!(answered(&reports), names(["a"]));
    assert!(strict.count::<User>("", &[]).await.unwrap_err().is_not_sent());
}

#[tokio::test]
async fn session_reads_from_current_replica() {
    let three = Three::start_with(settings().with_max_lag(None)).await;
    three.servers.replica.pause_replay().await.unwrap();
    let repo = three.syd.repo().with_choose(Choose::Random).with_replay_timeout(Duration::from_millis(500));
    for number in 0..10 {
        let (repo, reports) = recorded(&repo.session());
        let user = repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
        reports.take();
        for _ in 0..5 {
            assert_eq!(repo.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
        }
        assert_eq!(answered(&reports), names(["b"]));
    }
}

#[tokio::test]
async fn list_changes_fail_no_read() {
    let three = Three::start().await;
    let urls = [&three.servers.replica, &three.second].map(|server| server.database_url(&three.world.database));
    let lists = [vec![0], vec![0, 1], vec![1], vec![], vec![1, 0]];
    let (count, mut counted) = watch::channel(0);
    let repo =
        three.syd.repo().with_choose(Choose::Random).with_observer(move |_| count.send_modify(|count| *count += 1));
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        let repo = repo.clone();
        readers.spawn(async move { read(&repo, 1000).await });
    }
    drop(repo);
    let change = async {
        // During the reads, as often as there is time for.
        for (number, list) in (1..=20).zip(lists.iter().cycle()) {
            let named = |index: &usize| replica(["a", "b"][*index], &urls[*index]);
            three.list.replace(list.iter().map(named)).unwrap();
            wait_for(&three.syd, |status| status.len() == list.len()).await;
            counted.wait_for(|count| *count >= number * 450).await.unwrap();
        }
    };
    timeout(PATIENCE * 4, change).await.unwrap();
    while let Some(reader) = timeout(PATIENCE * 4, readers.join_next()).await.unwrap() {
        reader.unwrap();
    }
    assert_eq!(*counted.borrow(), 10_000);
}

#[tokio::test]
async fn replica_is_chosen_by_name() {
    let three = Three::start().await;
    let (repo, reports) = recorded(&three.syd.repo());
    for name in ["a", "b"] {
        read(&repo.replica(name).unwrap(), 5).await;
        assert_eq!(answered(&reports), names([name]));
    }
    let error = repo.replica("ord").unwrap_err();
    assert!(error.is_misuse(), "{error:?}");
    assert!(error.to_string().contains("\"ord\"") && error.to_string().contains("a, b"), "{error}");

    let a = repo.replica("a").unwrap();
    three.list.remove("a");
    wait_for(&three.syd, |status| status.len() == 1).await;
    assert!(a.query("select 1", &[]).await.unwrap_err().is_misuse());
    assert!(a.insert(&NewUser::named("Ada")).await.is_ok(), "it is committed, whatever can be read here");
}

#[tokio::test]
async fn primary_answers_until_replica_is_added() {
    let world = World::shared().await;
    let list = ReplicaList::none();
    let syd = start(away(&world, &list, settings())).await.unwrap();
    let (repo, reports) = recorded(&syd.repo());
    read(&repo, 3).await;
    assert_eq!(answered(&reports), names(["primary"]));
    list.add(replica("late", &Servers::shared().await.replica.database_url(&world.database))).unwrap();
    wait_for(&syd, |status| status.len() == 1).await;
    read(&repo.session(), 3).await;
    assert_eq!(answered(&reports), names(["late"]));
}

#[tokio::test]
async fn unreachable_replica_stops_no_other() {
    let world = World::shared().await;
    let url = Servers::shared().await.replica.database_url(&world.database);
    let list = format!("a={url},b=postgres://app:geheim@127.0.0.1:1/app,c=postgres://app@no-such-host.invalid/app");
    let list = ReplicaList::parse(&list, "HOMING_REPLICA_URL").unwrap();
    let syd = timeout(PATIENCE, start(away(&world, &list, settings()))).await.unwrap().unwrap();
    let status = syd.repo().replicas().status();
    let health = |name: &str| status.iter().find(|status| &*status.name == name).map(|status| status.health);
    assert_eq!([health("a"), health("b"), health("c")], [Some(Health::Up), Some(Health::Down), None]);
    let (repo, reports) = recorded(&syd.repo().with_choose(Choose::Random));
    read(&repo, 20).await;
    assert_eq!(answered(&reports), names(["a"]));
}

#[tokio::test]
async fn primary_region_reads_from_primary() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let mut config = servers.primary_config(&world.database);
    let replica = servers.replica.database_url(&world.database);
    config.replica_url = Some(format!("{replica},same={}", servers.primary.database_url(&world.database)));
    let node = start(config).await.unwrap();
    let (repo, reports) = recorded(&node.repo());
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    read(&repo, 5).await;
    assert_eq!(answered(&reports), names(["primary"]));

    let spread = repo.with_choose(Choose::Random);
    let user = spread.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(answered(&reports), names(["primary"]));
    assert_eq!(spread.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    read(&spread, 20).await;
    let name = servers.replica.address().to_string();
    assert_eq!(answered(&reports), names([&name]));
}

#[tokio::test]
async fn wrong_list_fails_at_start() {
    for (list, part) in [
        ("a=postgres://app:geheim@one/app,a=postgres://two/app", "two replicas are named a"),
        ("postgres://one/app,geheim", "entry 2"),
        ("postgres://app:ge@heim@one/app", "percent-encoded"),
    ] {
        let mut config = config("syd");
        config.replica_url = Some(list.into());
        let error = timeout(PATIENCE, start(config)).await.unwrap().unwrap_err();
        assert!(error.is_configuration(), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("HOMING_REPLICA_URL") && message.contains(part), "{message}");
        assert!(!format!("{error:?}").contains("heim"), "{error:?}");
    }
}

#[tokio::test]
async fn measured_reads_have_row_per_server() {
    let three = Three::start().await;
    three.second.kill().await.unwrap();
    three.wait_for("b", Health::Down).await;
    let measure = Measure::default().with_time(Duration::from_millis(100));
    let table = three.syd.repo().measure_reads(&measure).await.unwrap();
    let measured = |name: &str| table.rows.iter().find(|row| row.name == name).unwrap().figures.clone();
    assert!(measured("a").unwrap().reads > 0 && measured("iad (primary)").unwrap().reads > 0);
    assert!(measured("b").unwrap_err().contains("does not answer"));
    let shown = table.to_string();
    assert!(shown.contains("x slower") && shown.contains("b was not measured"), "{shown}");
}

fn addresses(status: &[ReplicaStatus]) -> Vec<String> {
    let address = |status: &ReplicaStatus| status.address.split(':').next().unwrap().to_owned();
    status.iter().map(address).collect()
}

#[tokio::test]
async fn host_name_of_replicas_is_followed() {
    let servers = Servers::start(&[]).await;
    let options = Postgres::options().with_name("second").with_max_connections(300);
    let second = options.start_replica_of(&servers.primary).await.unwrap();
    let world = servers.world().await;
    second.caught_up_with(&servers.primary).await.unwrap();
    let named = Named::start(&servers.replica, &second).await;
    named.leads_to([FIRST]);
    let list = ReplicaList::new([replica("db", &named.url(&world.database))]).unwrap();
    let syd = start(away(&world, &list, named.settings().with_probe_interval(PROBE_INTERVAL))).await.unwrap();
    let (repo, reports) = recorded(&syd.repo().with_choose(Choose::Random));
    read(&repo, 10).await;
    assert_eq!(answered(&reports), names(["db"]));

    named.leads_to([FIRST, SECOND]);
    wait_for(&syd, |status| addresses(status) == ["127.0.0.2", "127.0.0.3"]).await;
    read(&repo, 50).await;
    let both = [FIRST, SECOND].map(|ip| format!("db/{}:{}", IpAddr::from(ip), named.port));
    assert_eq!(answered(&reports), BTreeSet::from(both.clone()));
    read(&repo.replica("db").unwrap(), 50).await;
    assert_eq!(answered(&reports), BTreeSet::from(both.clone()), "the name is any of them");
    read(&repo.replica(&both[1]).unwrap(), 5).await;
    assert_eq!(answered(&reports), names([both[1].as_str()]));

    named.leads_to([SECOND]);
    wait_for(&syd, |status| addresses(status) == ["127.0.0.3"]).await;
    read(&repo, 10).await;
    assert_eq!(answered(&reports), names(["db"]));

    named.leads_to([]);
    let asked = *named.dns.queries().borrow();
    let again = async { named.dns.queries().wait_for(|count| *count >= asked + 4).await.map(|count| *count) };
    timeout(PATIENCE, again).await.unwrap().unwrap();
    assert_eq!(addresses(&syd.repo().replicas().status()), ["127.0.0.3"], "no answer takes nothing away");
    read(&repo, 10).await;
    assert_eq!(answered(&reports), names(["db"]));
}

#[tokio::test]
async fn host_name_of_primary_is_followed() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let named = Named::start(&servers.primary, &servers.replica).await;
    named.leads_to([FIRST]);
    let mut config = config("iad");
    config.database_url = Some(named.url(&world.database));
    config.replica_settings = named.settings().with_probe_interval(PROBE_INTERVAL);
    let iad = start(config).await.unwrap();
    let repo = iad.repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();

    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
    named.leads_to([SECOND]);
    wait_for(&iad, |status| addresses(status) == ["127.0.0.3"]).await;
    let user = repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 2);
}
