//! Transactions of nodes that fall silent, and of callers that take their time.

use homing::{Error, Repo};
use homing_testbed::{Cut, Relay};
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, World, start, wait_until_true};

async fn add(repo: &Repo, name: &str) -> homing::Result<()> {
    repo.insert(&NewUser::named(name)).await.map(drop)
}

/// A node that hangs does not close its connections: PostgreSQL gives its locks up.
#[tokio::test]
async fn silent_node_keeps_no_lock() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    add(&world.iad.repo(), "Ada").await.unwrap();
    let relay = Relay::start(servers.primary.address()).unwrap();
    let mut config = servers.primary_config(&world.database);
    let url = servers.primary.database_url(&world.database);
    config.database_url = Some(url.replace(&servers.primary.address().to_string(), &relay.address().to_string()));
    let node = start(config).await.unwrap();
    let (repo, relay, primary) = (node.repo(), &relay, &world.primary);
    let hanging = repo.transaction(|tx| async move {
        tx.execute("update users set age = 1", &[]).await?;
        relay.cut(Cut::Blackhole).await;
        let waiting = primary.execute("update users set age = 2", &[]);
        timeout(PATIENCE, waiting).await.expect("the lock is given up").unwrap();
        Err::<(), _>(Error::failed("it hangs"))
    });
    assert!(hanging.await.unwrap_err().is_function_failed());
}

#[tokio::test]
async fn waiting_transaction_stays_open() {
    let world = World::shared().await;
    let (repo, primary) = (world.syd.repo(), &world.primary);
    let waiting = repo.transaction(|tx| async move {
        add(&tx, "Ada").await?;
        let is_old = "select exists (select from pg_stat_activity where now() - xact_start > '2 s'
                      and state = 'idle in transaction' and datname = current_database())";
        wait_until_true(primary, is_old).await;
        add(&tx, "Grace").await
    });
    waiting.await.unwrap();
    assert_eq!(world.users_on_primary().await, 2);
}
