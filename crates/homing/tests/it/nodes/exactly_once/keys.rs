//! Keys of the application's own.

use homing::outcome::Outcome;
use homing::{Batch, Error, Wait};

use super::{RUNS, enrol};
use crate::fixture::{NewUser, PATIENCE, Servers, User, World, count_users, in_iad};

#[tokio::test]
async fn key_is_applied_once() {
    let world = World::shared().await;
    let first: User = world.syd.repo().with_key("order 1").insert(&NewUser::named("Ada")).await.unwrap();
    for (region, node) in world.both() {
        let repo = node.repo();
        let again: User = repo.with_key("order 1").insert(&NewUser::named("Ada")).await.unwrap();
        assert_eq!(again, first, "{region}");
        let error = repo.with_key("order 1").insert(&NewUser::named("Grace")).await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent(), "{region}: {error:?}");
        assert_eq!(repo.outcome("order 1").await.unwrap(), Outcome::Committed);
        assert_eq!(repo.outcome(format!("order 2 {region}")).await.unwrap(), Outcome::NotCommitted);
        // A reader's handle may have the key too.
        assert_eq!(count_users(&repo.with_key("order 1")).await, 1);
    }
}

#[tokio::test]
async fn two_hundred_at_once_are_one() {
    let world = World::shared().await;
    let calls = (0..200).map(|number| {
        let node = if number % 2 == 0 { &world.syd } else { &world.iad };
        let repo = node.repo().with_key("order 3").with_call_timeout(PATIENCE).with_wait(Wait::Never);
        async move { repo.insert(&NewUser::named("Ada")).await }
    });
    let users: Vec<Result<User, Error>> = futures_util::future::join_all(calls).await;
    let ids: std::collections::HashSet<i64> = users.into_iter().map(|user| user.unwrap().id).collect();
    assert_eq!((ids.len(), world.users_on_primary().await), (1, 1));
}

#[tokio::test]
async fn all_that_is_one_transaction_has_keys() {
    let servers = Servers::shared().await;
    let world = World::shared().await;
    let config = servers.primary_config(&world.database);
    let iad = homing::Node::with_config(config).register(enrol).start().await.unwrap();
    let config = servers.replica_config(&world.database, in_iad(iad.local_addr()));
    let syd = homing::Node::with_config(config).register(enrol).start().await.unwrap();
    for node in [&syd, &iad] {
        let repo = node.repo();
        let mut batch = Batch::new();
        let user = batch.insert("user", NewUser::named("batch")).unwrap();
        assert_eq!(repo.with_key("batch").batch(&batch).await.unwrap().take(&user).name, "batch");
        let sql = "insert into users (name) select 'row ' || n from generate_series(1, 2) as n returning name";
        assert_eq!(repo.with_key("rows").query(sql, &[]).await.unwrap().len(), 2);
        let runs = enrol::call(&repo.with_key("function"), "Hedy".into()).await.unwrap();
        assert_eq!((runs, RUNS.lock().unwrap()["Hedy"]), (1, 1), "a function that is committed does not run again");
        let error = enrol::call(&repo.with_key("function"), "Grace".into()).await.unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("another write"), "{error:?}");
    }
    assert_eq!(world.users_on_primary().await, 4);
}

#[tokio::test]
async fn what_cannot_be_protected_has_no_key() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_key("order 4");
        let results = [
            repo.batch_execute("insert into users (name) values ('Ada')").await.map(drop),
            repo.execute("create table plain (id int)", &[]).await.map(drop),
            repo.execute("vacuum users", &[]).await.map(drop),
            repo.rpc_and_wait::<u64>("import", &["Ada"]).await.map(drop),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{region}: {error:?}");
        }
    }
    assert_eq!(world.users_on_primary().await, 0);
}

/// Larger results than are kept: the first call gets them.
#[tokio::test]
async fn large_result_is_not_kept() {
    let world = World::shared().await;
    let sql = "insert into users (name) values ('Ada') returning repeat('x', 100000)";
    let repo = world.syd.repo().with_key("order 5");
    assert_eq!(repo.query(sql, &[]).await.unwrap().len(), 1);
    let error = repo.query(sql, &[]).await.unwrap_err();
    assert!(error.is_committed(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 1);
}
