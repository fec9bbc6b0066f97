//! Attempts that a stopped peer or a half-open link delivers when their call is over.

use homing::outcome::Outcome;
use homing::{Fate, Node, Repo};
use homing_proto::v1 as proto;
use homing_proto::v1::database_client::DatabaseClient;
use homing_rpc::{CallKey, Dispatch, Expectations, Reason};
use proto::execute_response::Outcome as Executed;
use proto::rejection::Cause;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::enrol;
use crate::fixture::{PATIENCE, Servers, World, in_iad, region};

/// Returns the bytes of the only key of the application's own.
async fn key(client: &Client) -> Vec<u8> {
    client.query_one("select uuid_send(key) from homing.outcome where slot = 0", &[]).await.unwrap().get(0)
}

/// Sends an attempt to insert a user, as if it had been under way since its caller was told of so many settlements.
async fn deliver(repo: &Repo, key: &[u8], fence: i32) -> Executed {
    let sql = "insert into users (name) values ('late')".into();
    let statements = vec![proto::Statement { sql, ..proto::Statement::default() }];
    let request = proto::ExecuteOnceRequest {
        request: Some(proto::ExecuteRequest { statements, ..proto::ExecuteRequest::default() }),
        once: Some(proto::Once { key: key.to_vec().into(), again: true, fence }),
    };
    let send = |channel| {
        let request = request.clone();
        async move { DatabaseClient::new(channel).execute_once(request).await }
    };
    let dispatch = Dispatch::new(Instant::now() + PATIENCE);
    repo.rpc_client().dispatch(&region("iad"), dispatch, send).await.unwrap().response.outcome.unwrap()
}

fn fence(executed: &Executed) -> Option<i32> {
    match executed {
        Executed::Rejection(proto::Rejection { cause: Some(Cause::KeySettled(settled)), .. }) => Some(settled.fence),
        _ => None,
    }
}

#[tokio::test]
async fn late_attempt_does_not_run() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let sql = "insert into users (name, age) values ('late', -1)";
    let refused = repo.with_key("order 30").execute(sql, &[]).await.unwrap_err();
    assert_eq!(refused.fate(), Fate::Rejected);
    let key = key(&world.primary).await;
    assert_eq!(fence(&deliver(&repo, &key, 0).await), Some(1));
    assert_eq!(world.users_on_primary().await, 0);

    // What is told of the call later is as true.
    assert_eq!(repo.outcome("order 30").await.unwrap(), Outcome::NotCommitted);
    for told in [0, 1] {
        assert_eq!(fence(&deliver(&repo, &key, told).await), Some(2));
    }
    assert_eq!(world.users_on_primary().await, 0);
    assert!(matches!(deliver(&repo, &key, 2).await, Executed::Results(_)));
    assert_eq!(world.users_on_primary().await, 1);
}

#[tokio::test]
async fn call_with_settled_key_runs() {
    let world = World::shared().await;
    let sql = "insert into users (name, age) values ('again', $1)";
    for (number, (name, node)) in world.both().into_iter().enumerate() {
        let repo = node.repo().with_key(format!("order 31 {name}"));
        for _ in 0..2 {
            assert_eq!(repo.execute(sql, &[&-1]).await.unwrap_err().fate(), Fate::Rejected);
        }
        assert_eq!(repo.execute("insert into users (name) values ($1)", &[&name]).await.unwrap(), 1);
        assert_eq!(world.users_on_primary().await, i64::try_from(number).unwrap() + 1);
    }
}

#[tokio::test]
async fn late_function_does_not_run() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let node = Node::with_config(servers.primary_config(&world.database)).register(enrol).start().await.unwrap();
    let config = servers.replica_config(&world.database, in_iad(node.local_addr()));
    let syd = Node::with_config(config).register(enrol).start().await.unwrap();
    let repo = syd.repo();
    assert_eq!(repo.outcome("order 32").await.unwrap(), Outcome::NotCommitted);

    let late = CallKey { bytes: key(&world.primary).await, again: true, fence: 0, fingerprint: 0 };
    let expected = Expectations { key: Some(late), ..Expectations::default() };
    let iad = region("iad");
    let call = repo.rpc_client().call_after::<u32>(&iad, "", "enrol", ("late",), expected, PATIENCE);
    let error = call.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeySettled), "{error:?}");
    assert_eq!(world.users_on_primary().await, 0);

    assert_eq!(enrol::call(&repo.with_key("order 32"), "Radia".into()).await.unwrap(), 1);
    assert_eq!(world.users_on_primary().await, 1);
}
