//! Sessions and the timelines of primaries: an old primary, and a promoted one that lacks what a session has seen.

use std::time::Duration;

use homing::discover::StaticPeers;
use homing::transaction::TransactionOptions;
use homing::{Error, Node, Repo, Token};
use homing_testbed::Shutdown;

use crate::fixture::{NewUser, Servers, User, World, are_places, in_iad, start};

/// Refusals wait for another peer for a part of this time.
const SHORT: Duration = Duration::from_millis(200);

/// A node in `iad` next to the server that was promoted.
async fn promoted_node(servers: &Servers, database: &str) -> Node {
    let mut config = servers.primary_config(database);
    config.database_url = Some(servers.replica.database_url(database));
    start(config).await.unwrap()
}

/// A node in `syd` without a replica.
async fn distant_node(servers: &Servers, database: &str, peers: StaticPeers) -> Node {
    let mut config = servers.replica_config(database, peers);
    config.replica_url = None;
    start(config).await.unwrap()
}

/// The results of all kinds of calls, each in a session that begins with the token.
async fn calls(repo: &Repo, token: &Token) -> Vec<(&'static str, homing::Result<()>)> {
    let repo = || repo.with_call_timeout(SHORT).with_token(token).unwrap();
    let new = NewUser::named("Mallory");
    vec![
        ("get", repo().get::<User>(1).await.map(drop)),
        ("query", repo().query("select id, name from users", &[]).await.map(drop)),
        ("stream", repo().stream("select id from users", &[]).await.map(drop)),
        ("insert", repo().insert(&new).await.map(drop)),
        ("execute", repo().execute("insert into users (name) values ('Trudy')", &[]).await.map(drop)),
        ("script", repo().batch_execute("insert into users (name) values ('Eve')").await),
        (
            "transaction",
            repo().transaction(|tx| async move { tx.insert(&NewUser::named("Oscar")).await }).await.map(drop),
        ),
        ("function", repo().rpc_and_wait::<u64>("import", &["Niaj"]).await.map(drop)),
        ("snapshot", {
            let options = TransactionOptions::read_only();
            repo().transaction_with(options, |tx| async move { tx.get::<User>(1).await }).await.map(drop)
        }),
        ("copy_out", repo().copy_out("copy users to stdout").await.map(drop)),
        ("copy_in", repo().copy_in("copy users (name) from stdin").await.map(drop)),
        ("position", repo().primary_position().await.map(drop)),
    ]
}

#[track_caller]
fn assert_all(calls: Vec<(&'static str, homing::Result<()>)>, is_expected: impl Fn(&Error) -> bool) {
    for (name, result) in calls {
        let error = result.expect_err(name);
        assert!(error.is_not_sent() && is_expected(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn old_primary_is_refused() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    servers.replica.promote().await.unwrap();
    let promoted = promoted_node(&servers, &world.database).await;
    let repo = promoted.repo();
    repo.insert(&NewUser::named("Grace")).await.unwrap();
    let token = repo.token().await.unwrap();

    let away = distant_node(&servers, &world.database, world.peers()).await;
    for node in [&world.iad, &away] {
        assert_all(calls(&node.repo(), &token).await, Error::is_not_primary);
    }
    assert_eq!(world.users_on_primary().await, 1, "the old primary has taken a write");
    // A session that knows of no later timeline cannot tell.
    world.iad.repo().insert(&NewUser::named("Linus")).await.unwrap();

    // One of the two peers is next to the promoted server.
    let both = in_iad(world.iad.local_addr().into_iter().chain(promoted.local_addr()));
    let away = distant_node(&servers, &world.database, both).await;
    for _ in 0..10 {
        let repo = away.repo().with_token(&token).unwrap();
        assert_eq!(repo.count::<User>("where name in ('Ada', 'Grace', 'Linus')", &[]).await.unwrap(), 2);
    }
}

/// A world whose primary is gone. The promoted replica has Ada and lacks Grace.
async fn failed_over() -> (Servers, String, [Token; 2]) {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let mut tokens = Vec::new();
    for name in ["Ada", "Grace"] {
        let repo = world.iad.repo();
        repo.insert(&NewUser::named(name)).await.unwrap();
        tokens.push(repo.token().await.unwrap());
        if name == "Ada" {
            servers.replica.caught_up_with(&servers.primary).await.unwrap();
            servers.replica.stop(Shutdown::Fast).await.unwrap();
        }
    }
    let World { iad, database, .. } = world;
    iad.shutdown().await;
    servers.primary.kill().await.unwrap();
    servers.replica.start_again().await.unwrap();
    servers.replica.promote().await.unwrap();
    (servers, database, tokens.try_into().unwrap())
}

#[tokio::test]
async fn lost_write_is_an_error() {
    let (servers, database, [kept, lost]) = failed_over().await;
    let node = promoted_node(&servers, &database).await;
    let away = distant_node(&servers, &database, in_iad(node.local_addr())).await;
    let new = node.repo();
    for number in 0..50 {
        // The numbers of the new timeline are soon past those of the lost write.
        new.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
    }
    for (region, repo) in [("iad", node.repo()), ("away", away.repo())] {
        assert_all(calls(&repo, &lost).await, Error::is_history_lost);
        if !are_places() {
            // No node has followed the server since before the promotion.
            assert_all(calls(&repo, &kept).await, Error::is_history_lost);
        }
        for (name, result) in calls(&repo, &kept).await.into_iter().filter(|_| are_places()) {
            // The names are unique, and the calls of the second node write them again.
            assert!(
                result.as_ref().is_ok() || result.as_ref().is_err_and(|error| error.code().is_some()),
                "{region} {name}: {result:?}"
            );
        }
        // The loss is reported once, and then the session goes on.
        let session = repo.with_token(&lost).unwrap();
        assert!(session.count::<User>("", &[]).await.unwrap_err().is_history_lost());
        assert_eq!(session.count::<User>("where name in ('Ada', 'Grace')", &[]).await.unwrap(), 1);
        session.insert(&NewUser::named(&format!("goes on in {region}"))).await.unwrap();
        assert!(session.token().await.is_ok());
    }
}

/// The session has also seen the new timeline, before or after it was given the token.
#[tokio::test]
async fn later_position_does_not_hide_loss() {
    let (servers, database, [kept, lost]) = failed_over().await;
    let node = promoted_node(&servers, &database).await;
    let new = node.repo();
    new.insert(&NewUser::named("Linus")).await.unwrap();
    let token = new.token().await.unwrap();
    for (first, second) in [(&token, &lost), (&lost, &token)] {
        let both = node.repo().with_token(first).unwrap().with_token(second).unwrap().token().await.unwrap();
        let session = node.repo().with_token(&both).unwrap();
        assert!(session.count::<User>("", &[]).await.unwrap_err().is_history_lost());
        assert_eq!(session.count::<User>("", &[]).await.unwrap(), 2);
    }
    if !are_places() {
        return; // the history file tells nothing of transactions
    }
    let session = new.with_token(&kept).unwrap();
    assert_eq!(session.count::<User>("", &[]).await.unwrap(), 2);
    assert_eq!(session.token().await.unwrap().as_str().len(), token.as_str().len(), "it is one timeline again");
}

/// A call with a key that was used is answered, whatever else the session has seen.
#[tokio::test]
async fn used_key_does_not_hide_loss() {
    let (servers, database, [_, lost]) = failed_over().await;
    let node = promoted_node(&servers, &database).await;
    let away = distant_node(&servers, &database, in_iad(node.local_addr())).await;
    let new = NewUser::named("Linus");
    node.repo().with_key("Linus").insert(&new).await.unwrap();
    for repo in [node.repo(), away.repo()] {
        let session = repo.with_token(&lost).unwrap();
        session.with_key("Linus").insert(&new).await.unwrap();
        assert!(session.count::<User>("", &[]).await.unwrap_err().is_history_lost());
        assert_eq!(session.count::<User>("", &[]).await.unwrap(), 2);
    }
}

/// Without proof the numbers do not count, even if the write is there.
#[tokio::test]
async fn survival_needs_a_proof() {
    let (servers, database, [kept, _]) = failed_over().await;
    let client = servers.replica.connect_to(&database).await.unwrap();
    client
        .batch_execute("create role ordinary login; grant all on all tables in schema public to ordinary")
        .await
        .unwrap();
    client.batch_execute("checkpoint").await.unwrap();
    let mut config = servers.primary_config(&database);
    config.database_url = Some(servers.replica.database_url(&database).replace("://postgres@", "://ordinary@"));
    let session = start(config).await.unwrap().repo().with_token(&kept).unwrap();
    assert!(session.count::<User>("", &[]).await.unwrap_err().is_history_lost());
    assert_eq!(session.count::<User>("", &[]).await.unwrap(), 1);
}
