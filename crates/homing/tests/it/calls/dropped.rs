//! Calls that are dropped at any moment: a browser goes away, a time limit of the application passes.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use homing::{Node, Repo};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::fixture::{NewUser, User, World, wait_until_running};

/// A thousand reads and writes in each region, eight at once, each dropped within some milliseconds.
#[tokio::test]
async fn dropped_calls_leave_pools_whole() {
    let world = World::shared().await;
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    for (region, node) in world.both() {
        let calls = (0..1000).map(|number| drop_early(node.repo(), region, number));
        stream::iter(calls).buffer_unordered(8).collect::<()>().await;
    }
    assert_is_whole(&world.iad, &world.primary).await;
    assert_is_whole(&world.syd, &world.replica).await;
    for (region, node) in world.both() {
        node.repo().insert(&NewUser::named(&format!("last in {region}"))).await.unwrap();
    }
}

async fn drop_early(repo: Repo, region: &str, number: u64) {
    let call = async {
        let new = NewUser::named(&format!("{region} {number}"));
        match number % 6 {
            0 => repo.query("select name from users, pg_sleep(0.001)", &[]).await.map(drop),
            1 => repo.count::<User>("", &[]).await.map(drop),
            2 => repo.insert(&new).await.map(drop),
            3 => repo.execute("update users set age = 7 where name = 'Ada'", &[]).await.map(drop),
            4 => repo.transaction(|tx| async move { tx.insert(&new).await.map(drop) }).await,
            _ => {
                let rows = repo.stream("select generate_series(1, 10000)", &[]).await?;
                rows.for_each(async |_| ()).await;
                Ok(())
            }
        }
    };
    // Calls of the first kind end by themselves now and then; what the others returned does not matter either.
    let _ = timeout(Duration::from_millis(number % 7), call).await;
}

/// Uses all four connections of a node's pool at the same time.
async fn assert_is_whole(node: &Node, server: &Client) {
    let sleeping: Vec<_> = (0..4)
        .map(|_| {
            let repo = node.repo();
            tokio::spawn(async move { repo.query("select pg_sleep(600)", &[]).await.map(drop) })
        })
        .collect();
    wait_until_running(server, "%pg_sleep(600)%", 4).await;
    sleeping.iter().for_each(tokio::task::JoinHandle::abort);
    wait_until_running(server, "%pg_sleep(600)%", 0).await;
}
