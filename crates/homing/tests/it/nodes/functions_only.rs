//! A node that refuses the SQL of its peers.

use homing::rpc::PeerHealth;
use homing::{Context, Error, Node, OnLag};
use homing_testbed::wait_until;

use super::calls::calls_with_sql;
use crate::fixture::{NewUser, PATIENCE, Servers, User, World, count_users, import, in_iad, region, start};

/// Stores users in a transaction, and reads them as a stream.
#[homing::remote(transactional)]
async fn import_and_list(context: Context, names: Vec<String>) -> homing::Result<Vec<String>> {
    let repo = context.repo();
    for name in &names {
        repo.insert(&NewUser::named(name)).await?;
    }
    let mut rows = repo.stream("select name from users order by id", &[]).await?;
    let mut stored = Vec::new();
    while let Some(row) = rows.next().await {
        stored.push(row?.get(0));
    }
    Ok(stored)
}

fn is_refused(error: &Error) -> bool {
    let text = error.to_string();
    error.is_misuse()
        && error.is_not_sent()
        && ["HOMING_FUNCTIONS_ONLY", "call a named function"].iter().all(|part| text.contains(part))
}

/// A node in `iad` that refuses SQL, and a database of its own.
async fn functions_only(servers: &Servers) -> (World, Node) {
    let world = servers.world().await;
    let mut config = servers.primary_config(&world.database);
    config.functions_only = true;
    let iad = Node::with_config(config).register(import).register(import_and_list).start().await.unwrap();
    (world, iad)
}

#[tokio::test]
async fn sql_of_peers_is_refused() {
    let servers = Servers::shared().await;
    let (world, iad) = functions_only(servers).await;
    let peers = in_iad(iad.local_addr());
    let near = servers.replica_node(&world.database, peers.clone()).await;
    let far = world.node_without_replica(peers).await;
    for node in [&near, &far] {
        for (name, result) in calls_with_sql(&node.repo()).await {
            let error = result.expect_err(name);
            assert!(is_refused(&error), "{name}: {error:?}");
        }
    }
    assert_eq!(world.users_on_primary().await, 0);
    // Neither is the node out of rotation, nor is its own process restricted.
    let peers = near.repo().rpc_client().peers(&region("iad"), PATIENCE).await.unwrap();
    assert!(peers.iter().all(|peer| peer.health == PeerHealth::Up), "{peers:?}");
    iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let stored = import_and_list::call(&far.repo(), vec!["Grace".into()]).await.unwrap();
    assert_eq!(stored, ["Ada", "Grace"]);
}

#[tokio::test]
async fn functions_are_read_after_their_writes() {
    let servers = Servers::shared().await;
    let (world, iad) = functions_only(servers).await;
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    let repo = syd.repo();
    for number in 1..=20_i64 {
        let names = vec![number.to_string()];
        let stored = import_and_list::call(&repo, names).await.unwrap().len();
        assert_eq!((stored as i64, count_users(&repo).await), (number, number));
    }
    // Positions and tokens go on: of the session, and of the primary.
    let token = repo.token().await.unwrap();
    assert_eq!(count_users(&syd.repo().with_token(&token).unwrap()).await, 20);
    let before = repo.primary_position().await.unwrap();
    iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let position = syd.repo().primary_position().await.unwrap();
    assert!(position.lsn > before.lsn || position.transaction > before.transaction);
    let local = world.iad.repo();
    assert_eq!(import::call(&local, vec!["Grace".into()]).await.unwrap(), 1);
}

#[tokio::test]
async fn lagging_read_is_refused_with_advice() {
    let servers = Servers::start(&[]).await;
    let (world, iad) = functions_only(&servers).await;
    let syd = start(servers.replica_config(&world.database, in_iad(iad.local_addr()))).await.unwrap();
    let short = std::time::Duration::from_millis(100);
    let repo = syd.repo().with_replay_timeout(short);
    servers.replica.pause_replay().await.unwrap();
    let error = import::call(&repo, vec!["Ada".into()]).await.map(drop);
    assert!(error.is_ok() || error.is_err_and(|error| error.is_committed()));
    // The primary may not answer, so the read waits or fails.
    assert!(is_refused(&repo.count::<User>("", &[]).await.unwrap_err()));
    let error = repo.with_on_lag(OnLag::Fail).count::<User>("", &[]).await.unwrap_err();
    assert!(error.is_not_sent() && !error.is_misuse(), "{error:?}");
    servers.replica.resume_replay().await.unwrap();
    // Reads of a session that is behind do not wait.
    let strict = repo.with_on_lag(OnLag::Fail);
    wait_until("the replica has caught up", async || strict.count::<User>("", &[]).await.is_ok_and(|users| users == 1))
        .await;
}
