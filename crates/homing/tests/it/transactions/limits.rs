//! The limits of a transaction: how many are open, how large it is, how long it takes.

use std::time::Duration;

use futures_util::StreamExt;
use homing::transaction::TransactionOptions;
use tokio::sync::{mpsc, oneshot};

use super::{add, named};
use crate::fixture::{NewUser, PATIENCE, Servers, User, World, in_iad, start};

#[tokio::test]
async fn transaction_limit_spares_single_writes() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let mut open = Vec::new();
        let (begun, mut all) = mpsc::channel(8);
        // The pool has four connections.
        for number in 0..3 {
            let (repo, begun) = (node.repo(), begun.clone());
            let (done, finish) = oneshot::channel::<()>();
            let task = tokio::spawn(async move {
                repo.transaction(|tx| async move {
                    tx.insert(&named(region, &format!("user {number}"))).await?;
                    begun.send(()).await.unwrap();
                    let _ = finish.await;
                    Ok(())
                })
                .await
            });
            open.push((done, task));
        }
        for _ in 0..3 {
            all.recv().await.unwrap();
        }
        let brief = node.repo().with_call_timeout(Duration::from_millis(500));
        let error = brief.transaction(|tx| async move { add(&tx, "one too many").await }).await.unwrap_err();
        assert!(error.is_overloaded() && error.is_not_sent(), "{region}: {error:?}");
        assert!(error.retry_after().is_some());
        node.repo().insert(&named(region, "single")).await.unwrap();
        for (done, task) in open {
            done.send(()).unwrap();
            task.await.unwrap().unwrap();
        }
        assert_eq!(node.repo().execute("delete from users", &[]).await.unwrap(), 4);
        node.repo().transaction(|tx| async move { add(&tx, "there is room again").await }).await.unwrap();
        node.repo().execute("delete from users", &[]).await.unwrap();
    }
}

/// The pool has four connections, and three places for transactions.
#[tokio::test]
async fn transactions_queue_for_places() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let many = (0..16).map(|number| {
            let repo = repo.clone();
            async move {
                let twice = |tx: homing::Repo| async move {
                    tx.insert(&named(region, &format!("first {number}"))).await?;
                    tx.insert(&named(region, &format!("second {number}"))).await
                };
                repo.transaction(twice).await
            }
        });
        futures_util::future::try_join_all(many).await.unwrap();
        assert_eq!(node.repo().execute("delete from users", &[]).await.unwrap(), 32);
    }
}

#[tokio::test]
async fn number_of_transactions_is_a_setting() {
    let (servers, world) = (Servers::shared().await, World::shared().await);
    let iad = start(servers.primary_config(&world.database).with_max_transactions(1)).await.unwrap();
    let brief = iad.repo().with_call_timeout(Duration::from_millis(500));
    iad.repo()
        .transaction(|tx| async move {
            add(&tx, "the only one").await?;
            let error = brief.transaction(|tx| async move { add(&tx, "one too many").await }).await.unwrap_err();
            assert!(error.is_overloaded() && error.is_not_sent(), "{error:?}");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn many_clients_share_a_pool() {
    let (servers, world) = (Servers::shared().await, World::shared().await);
    let mut config = servers.primary_config(&world.database);
    config.pool_size = 16;
    let iad = start(config).await.unwrap();
    let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    for (region, node) in [("iad", &iad), ("syd", &syd)] {
        let clients = (0..64).map(|number| {
            let repo = node.repo().with_call_timeout(PATIENCE);
            async move {
                let name = format!("{region} {number}");
                let of_four = |tx: homing::Repo| async move {
                    let user = tx.insert(&NewUser::named(&name)).await?;
                    tx.execute("update users set age = 1 where id = $1", &[&user.id]).await?;
                    let user = tx.get::<User>(user.id).await?.expect("it was just inserted");
                    tx.delete(&user).await
                };
                repo.transaction(of_four).await
            }
        });
        futures_util::future::try_join_all(clients).await.unwrap();
    }
}

/// Two streams and transactions would take the whole pool, and another stream or transaction waits.
#[tokio::test]
async fn streams_and_transactions_spare_statements() {
    let world = World::shared().await;
    let repo = world.iad.repo().with_call_timeout(PATIENCE);
    let many = "select repeat('x', 1000) from generate_series(1, 100000)";
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = Box::pin(repo.stream(many, &[]).await.unwrap());
        stream.next().await.unwrap().unwrap();
        streams.push(stream);
    }
    repo.transaction(|tx| async move {
        add(&tx, "third place").await?;
        let brief = world.iad.repo().with_call_timeout(Duration::from_millis(500));
        let error = brief.transaction(|tx| async move { add(&tx, "one too many").await }).await.unwrap_err();
        assert!(error.is_overloaded(), "{error:?}");
        world.iad.repo().insert(&named("iad", "single")).await
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn oversized_rows_roll_back() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let error = node
            .repo()
            .transaction(|tx| async move {
                tx.insert(&named(region, "Ada")).await?;
                tx.query("select repeat('x', 1000000) from generate_series(1, 20)", &[]).await
            })
            .await
            .unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("larger than a message"), "{region}: {error}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn size_is_limited_per_statement() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let megabyte = "x".repeat(1_000_000);
        let length: i64 = repo
            .transaction(|tx| async move {
                let mut length = 0;
                for _ in 0..40 {
                    let row = tx.query_one("select $1::text || ''", &[&megabyte]).await?;
                    length += i64::try_from(row.get::<_, &str>(0).len()).unwrap();
                }
                Ok(length)
            })
            .await
            .unwrap();
        assert_eq!(length, 40_000_000, "{region}");
    }
}

#[tokio::test]
async fn time_limit_cancels_running_statement() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let options = TransactionOptions::default().with_time_limit(Duration::from_secs(2));
        let error = node
            .repo()
            .transaction_with(options, |tx| async move {
                tx.insert(&named(region, "Ada")).await?;
                tx.execute("select pg_sleep(60)", &[]).await
            })
            .await
            .unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("time_limit"), "{region}: {error}");
        let error = node
            .repo()
            .transaction_with(options, |tx| async move {
                tx.insert(&named(region, "Ada")).await?;
                // Until the server has ended the transaction at its limit.
                while tx.execute("select 1", &[]).await.is_ok() {}
                Ok(())
            })
            .await
            .unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("time_limit"), "{region}: {error}");
        let short = node.repo().with_call_timeout(Duration::from_secs(2));
        let error = short
            .transaction(|tx| async move {
                tx.insert(&named(region, "Ada")).await?;
                let late: homing::Result<u64> =
                    tx.transaction(|inner| async move { inner.execute("select pg_sleep(60)", &[]).await }).await;
                assert!(late.unwrap_err().is_rejected());
                let error = tx.query("select 1", &[]).await.unwrap_err();
                assert!(error.to_string().contains("cancelled"), "it ends the whole transaction: {error}");
                Err::<(), _>(error)
            })
            .await
            .unwrap_err();
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}
