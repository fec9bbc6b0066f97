//! A failover to another region: the nodes of all regions find the primary there, without new settings.

use std::sync::Arc;
use std::time::Duration;

use homing::discover::StaticPeers;
use homing::report::AnsweredBy;
use homing::{Config, Node, Repo};
use homing_testbed::Relay;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, config, import, recorded, region, start};

/// A primary in `iad` and its replica in `ams`, each with a node. The node in `syd` has no database, and reaches both nodes
/// through relays.
struct Three {
    servers: Servers,
    world: World,
    ams: Node,
    syd: Node,
    to_iad: Relay,
    to_ams: Relay,
    peers: StaticPeers,
}

impl Three {
    async fn start() -> Self {
        let servers = Servers::start(&[]).await;
        let world = servers.world().await;
        let mut config = config("ams");
        config.replica_url = Some(servers.replica.database_url(&world.database));
        config.listen = Some(([127, 0, 0, 1], 0).into());
        let ams = start(config).await.unwrap();
        let [to_iad, to_ams] = [&world.iad, &ams].map(|node| Relay::start(node.local_addr().unwrap()).unwrap());
        let peers = StaticPeers::none()
            .with_region(region("iad"), [to_iad.address()])
            .with_region(region("ams"), [to_ams.address()]);
        let syd = start(away(&peers)).await.unwrap();
        Self { servers, world, ams, syd, to_iad, to_ams, peers }
    }

    async fn fail_over(&self) {
        self.servers.replica.caught_up_with(&self.servers.primary).await.unwrap();
        self.servers.primary.kill().await.unwrap();
        self.servers.replica.promote().await.unwrap();
    }
}

/// A node in `syd` without a database.
fn away(peers: &StaticPeers) -> Config {
    let mut config = config("syd");
    config.discover = Arc::new(peers.clone());
    config
}

async fn insert(repo: &Repo, name: &str) -> homing::Result<User> {
    timeout(PATIENCE, repo.insert(&NewUser::named(name))).await.expect("it hangs")
}

/// The region of the peer that answered.
async fn answering_region(node: &Node, name: &str) -> String {
    let (repo, reports) = recorded(&node.repo());
    insert(&repo, name).await.unwrap();
    match reports.last().answered_by {
        AnsweredBy::Peer(peer) => peer.region.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn primary_is_found_in_other_region() {
    let three = Three::start().await;
    assert_eq!(answering_region(&three.syd, "Ada").await, "iad");
    assert_eq!(*three.to_ams.connections().borrow(), 0, "all is well, so no other region is asked");
    three.fail_over().await;
    assert_eq!(answering_region(&three.syd, "Grace").await, "ams");
    assert_eq!(three.syd.repo().current_primary_region(), region("ams"));
    assert_eq!(three.ams.repo().current_primary_region(), region("ams"));
    let new = start(away(&three.peers)).await.unwrap();
    assert_eq!(answering_region(&new, "Edsger").await, "ams", "a restarted node");
    assert_eq!(new.repo().count::<User>("", &[]).await.unwrap(), 3);
    let imported = new.repo().rpc::<u64>("import", &["Barbara"]).await.unwrap();
    assert_eq!(imported, 1);
}

#[tokio::test]
async fn copies_follow_the_primary() {
    let three = Three::start().await;
    three.fail_over().await;
    let Three { world, syd, ams: _ams, .. } = three;
    let repo = syd.repo();
    assert_eq!(answering_region(&syd, "Ada").await, "ams");
    // If it were asked, it would refuse for want of a primary.
    world.iad.shutdown().await;
    let copied = timeout(PATIENCE, async {
        let mut copy = repo.copy_in("copy users (name) from stdin").await?;
        copy.send("Grace\nEdsger\n").await?;
        copy.finish().await
    });
    assert_eq!(copied.await.expect("it hangs").unwrap(), 2);
    let mut data = repo.copy_out("copy (select name from users order by id) to stdout").await.unwrap();
    assert_eq!(data.next().await.unwrap().unwrap(), "Ada\n");
}

#[tokio::test]
async fn gone_region_is_given_up() {
    let three = Three::start().await;
    three.fail_over().await;
    let Three { world, syd, ams: _ams, to_iad, .. } = three;
    world.iad.shutdown().await;
    let repo = syd.repo().with_call_timeout(Duration::from_secs(3));
    let names = timeout(PATIENCE, import::call(&repo, vec!["Ada".to_owned()])).await.unwrap();
    assert_eq!(names.unwrap(), 1, "a function");
    assert_eq!(answering_region(&syd, "Grace").await, "ams");
    drop(to_iad);
    repo.transaction(|tx| async move { tx.insert(&NewUser::named("Edsger")).await }).await.unwrap();
    let mut rows = repo.stream("select name from users", &[]).await.unwrap();
    let mut count = 0;
    while let Some(row) = rows.next().await {
        row.unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
}

/// The node in `iad` keeps its settings, and its database is a replica now.
#[tokio::test]
async fn former_primary_region_forwards() {
    let three = Three::start().await;
    let mut config = three.servers.primary_config(&three.world.database);
    config.discover = Arc::new(three.peers.clone());
    let iad = start(config.clone()).await.unwrap();
    insert(&iad.repo(), "Ada").await.unwrap();
    three.fail_over().await;
    assert_eq!(answering_region(&iad, "Grace").await, "ams");
    let restarted = start(config).await.unwrap();
    assert_eq!(answering_region(&restarted, "Edsger").await, "ams");
    assert!(restarted.repo().replicas().missing_primary().is_some());
}
