//! Nodes that expect another application, or another database cluster, than they find.

use std::time::Duration;

use homing::replicas::Health;
use homing::{Config, Node, Topology};
use homing_testbed::{Relay, wait_until};

use super::calls::calls_with_sql;
use crate::fixture::{
    NewUser, PATIENCE, Servers, User, World, config, count_users, in_iad, region, start, wait_until_true,
};

/// Refusals wait for another peer for a part of this time.
const SHORT: Duration = Duration::from_millis(300);

fn of_app(mut config: Config, name: &str, app: &str) -> Config {
    config.topology = Topology::new(region(name), region("iad")).with_app(app);
    config
}

#[tokio::test]
async fn other_application_gets_nothing() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let iad = start(of_app(servers.primary_config(&world.database), "iad", "shop")).await.unwrap();
    let peers = in_iad(iad.local_addr());
    let node =
        async |app| start(of_app(servers.replica_config(&world.database, peers.clone()), "syd", app)).await.unwrap();
    let repo = node("blog").await.repo().with_call_timeout(SHORT);
    let mut calls = calls_with_sql(&repo).await;
    calls.push(("function", repo.rpc_and_wait::<u64>("import", &["Niaj"]).await.map(drop)));
    for (name, result) in calls {
        let error = result.expect_err(name);
        let text = error.to_string();
        assert!(error.is_not_sent() && text.contains("\"shop\"") && text.contains("\"blog\""), "{name}: {error:?}");
    }
    assert_eq!(world.users_on_primary().await, 0);
    let refused = iad.refusals();
    assert!(refused.counts().any(|(refusal, count)| refusal.as_str() == "application" && count > 0));
    // The same name, or none, is let in.
    node("shop").await.repo().insert(&NewUser::named("Ada")).await.unwrap();
    servers.replica_node(&world.database, peers.clone()).await.repo().insert(&NewUser::named("Grace")).await.unwrap();
}

/// Two clusters whose databases have the same names and tables.
struct Two {
    ours: Servers,
    theirs: Servers,
    world: World,
    other: World,
}

impl Two {
    async fn start() -> Self {
        let (ours, theirs) = (Servers::start(&[]).await, Servers::start(&[]).await);
        let (world, mut other) = (ours.world().await, theirs.world().await);
        theirs.primary.create_database(&world.database).await.unwrap();
        other.primary = theirs.primary.connect_to(&world.database).await.unwrap();
        let table = "create table users (id bigserial primary key, name text not null unique, age int)";
        other.primary.batch_execute(table).await.unwrap();
        theirs.replica.caught_up_with(&theirs.primary).await.unwrap();
        other.iad = theirs.primary_node(&world.database).await;
        Self { ours, theirs, world, other }
    }

    async fn identifiers(&self) -> [String; 2] {
        let mut identifiers = Vec::new();
        for client in [&self.world.primary, &self.other.primary] {
            let row = client.query_one("select system_identifier::text from pg_control_system()", &[]).await.unwrap();
            identifiers.push(row.get(0));
        }
        identifiers.try_into().unwrap()
    }

    /// A node in `syd` that reads through a relay, and whose peer is next to the other cluster.
    async fn syd(&self, relay: &Relay) -> Node {
        let mut config = config("syd");
        let (address, name) = (relay.address(), &self.world.database);
        config.replica_url = Some(format!("postgres://postgres@{address}/{name}"));
        config.discover = std::sync::Arc::new(in_iad(self.other.iad.local_addr()));
        start(config).await.unwrap()
    }
}

#[tokio::test]
async fn other_cluster_gets_nothing() {
    let two = Two::start().await;
    let relay = Relay::start(two.ours.replica.address()).unwrap();
    let syd = two.syd(&relay).await;
    let repo = syd.repo().with_call_timeout(PATIENCE);
    let mut calls = calls_with_sql(&repo).await;
    calls.push(("function", repo.rpc_and_wait::<u64>("import", &["Niaj"]).await.map(drop)));
    calls.push(("position", repo.primary_position().await.map(drop)));
    let identifiers = two.identifiers().await;
    for (name, result) in calls {
        let error = result.expect_err(name);
        let text = error.to_string();
        assert!(error.is_not_sent() && !error.is_misuse(), "{name}: {error:?}");
        assert!(identifiers.iter().all(|identifier| text.contains(identifier)), "{name}: {error:?}");
    }
    assert_eq!(two.other.users_on_primary().await, 0);
    // A node without a replica knows no cluster.
    let mut config = config("syd");
    config.discover = std::sync::Arc::new(in_iad(two.other.iad.local_addr()));
    start(config).await.unwrap().repo().insert(&NewUser::named("Ada")).await.unwrap();
}

/// As after a restore: the replica is built anew from the new primary, while the node runs.
#[tokio::test]
async fn replaced_cluster_needs_no_restart() {
    let two = Two::start().await;
    let replicas = [&two.ours, &two.theirs].map(|servers| servers.replica.address().to_string());
    // It leads to the first one that answers.
    let relay = Relay::listen(([127, 0, 0, 1], 0).into(), replicas).unwrap();
    let syd = two.syd(&relay).await;
    let repo = syd.repo().with_call_timeout(PATIENCE);
    assert_eq!(count_users(&repo).await, 0);
    assert!(repo.insert(&NewUser::named("Ada")).await.unwrap_err().is_not_sent());
    two.ours.replica.kill().await.unwrap();
    // The node has not used its replica since, and does not know that it is another one.
    for name in ["Ada", "Grace"] {
        let user = repo.insert(&NewUser::named(name)).await.unwrap();
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    }
    let imported: u64 = repo.rpc_and_wait("import", &["Niaj"]).await.unwrap();
    assert_eq!((imported, count_users(&repo).await), (1, 3));
}

/// While the new replica is being built, writes go on, as they do without a replica.
#[tokio::test]
async fn lost_replica_expects_no_cluster() {
    let two = Two::start().await;
    let relay = Relay::start(two.ours.replica.address()).unwrap();
    let syd = two.syd(&relay).await;
    let repo = syd.repo().with_call_timeout(PATIENCE);
    assert!(repo.insert(&NewUser::named("Ada")).await.unwrap_err().is_not_sent());
    drop(relay);
    // The types are known, so the node does not notice before that its replica is gone.
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let imported: u64 = repo.rpc_and_wait("import", &["Niaj"]).await.unwrap();
    assert_eq!(imported, 1);
    // Soon the node knows, and does not ask twice for each write.
    let health = || repo.replicas().status()[0].health;
    wait_until("the replica is down", async || health() == Health::Down).await;
    wait_until_true(&two.other.primary, "select count(*) = 2 from users").await;
}
