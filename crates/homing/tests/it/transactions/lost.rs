//! Transactions that end without a commit: they leave nothing behind, on the primary or in its pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use homing::discover::StaticPeers;
use homing::transaction::TransactionOptions;
use homing::{Error, Node, Repo};
use homing_testbed::{Cut, Relay, wait_until};
use tokio::sync::{Barrier, oneshot};
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, World, in_iad, recorded, wait_until_running, wait_until_true};

/// A world whose node in `syd` reaches the one in `iad` through a relay that can be cut.
struct Linked {
    world: World,
    syd: Node,
    relay: Relay,
}

impl Linked {
    async fn start() -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        let relay = Relay::start(world.iad.local_addr().unwrap()).unwrap();
        let peers = in_iad([relay.address()]);
        let syd = servers.replica_node(&world.database, peers).await;
        Self { world, syd, relay }
    }
}

async fn add(repo: &Repo, name: &str) -> homing::Result<()> {
    repo.insert(&NewUser::named(name)).await.map(drop)
}

/// Waits until no connection of any node has a transaction open, or holds a lock.
async fn assert_nothing_is_open(world: &World) {
    let sql = "select count(*) = 0 from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()
                     and (state <> 'idle' or xact_start is not null)";
    let locks = "select count(*) = 0 from pg_locks
                 where database = (select oid from pg_database where datname = current_database())
                       and pid <> pg_backend_pid()";
    for sql in [sql, locks] {
        wait_until_true(&world.primary, sql).await;
    }
}

/// The primary's node can use all its connections, and all places for transactions, at the same time.
async fn assert_the_pool_is_whole(world: &World) {
    let repo = world.iad.repo().with_call_timeout(PATIENCE);
    let at_once = Arc::new(Barrier::new(3));
    let transactions = (0..3).map(|_| {
        let (repo, at_once) = (repo.clone(), Arc::clone(&at_once));
        async move {
            repo.transaction(|tx| async move {
                tx.query("select 1", &[]).await?;
                at_once.wait().await;
                Ok(())
            })
            .await
            .unwrap();
        }
    });
    timeout(PATIENCE, futures_util::future::join_all(transactions)).await.expect("a place was not given back");
    let sleepers = (0..4).map(|_| repo.query_one("select pg_sleep(0.3)::text, pg_backend_pid()", &[]));
    let rows = timeout(PATIENCE, futures_util::future::join_all(sleepers)).await.expect("a connection was lost");
    let mut pids: Vec<i32> = rows.into_iter().map(|row| row.unwrap().get(1)).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4, "the pool has four connections");
}

#[tokio::test]
async fn dropped_or_panicked_closure_rolls_back() {
    let world = World::shared().await;
    for node in [&world.iad, &world.syd] {
        let repo = node.repo();
        let (begun, wait) = oneshot::channel::<()>();
        let call = tokio::spawn({
            let repo = repo.clone();
            async move {
                repo.transaction(|tx| async move {
                    add(&tx, "Ada").await?;
                    begun.send(()).unwrap();
                    std::future::pending::<homing::Result<()>>().await
                })
                .await
            }
        });
        timeout(PATIENCE, wait).await.unwrap().unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        // Waits for the lock on the name, if it is still held.
        add(&repo, "Ada").await.unwrap();
        repo.execute("delete from users", &[]).await.unwrap();

        let panicking = repo.transaction(|tx| async move {
            add(&tx, "Ada").await?;
            if tx.in_transaction() {
                panic!("a bug of the application");
            }
            Ok(())
        });
        std::panic::AssertUnwindSafe(panicking).catch_unwind().await.unwrap_err();
        add(&repo, "Ada").await.unwrap();
        repo.execute("delete from users", &[]).await.unwrap();
        assert_nothing_is_open(&world).await;
    }
    assert_the_pool_is_whole(&world).await;
}

#[tokio::test]
async fn dropped_call_cancels_running_statement() {
    let world = World::shared().await;
    for (node, sleep) in [(&world.iad, "pg_sleep(71)"), (&world.syd, "pg_sleep(72)")] {
        let repo = node.repo().with_call_timeout(PATIENCE * 2);
        let call = tokio::spawn(async move {
            repo.transaction(|tx| async move {
                add(&tx, "Ada").await?;
                tx.execute(&format!("select {sleep}"), &[]).await
            })
            .await
        });
        wait_until_running(&world.primary, &format!("%{sleep}%"), 1).await;
        call.abort();
        assert_nothing_is_open(&world).await;
    }
    assert_eq!(world.users_on_primary().await, 0);
    assert_the_pool_is_whole(&world).await;
}

async fn drop_while_running(world: &World, tx: &Repo, sql: &str) {
    tokio::select! {
        ended = tx.execute(sql, &[]) => panic!("it was to run for longer: {ended:?}"),
        () = wait_until_running(&world.primary, sql, 1) => {}
    }
}

/// The next call does not get the answer of the dropped one.
#[tokio::test]
async fn call_dropped_inside_aborts_savepoint() {
    let world = World::shared().await;
    for node in [&world.iad, &world.syd] {
        let world = &world;
        let repo = node.repo();
        repo.transaction(|tx| async move {
            add(&tx, "kept").await?;
            let dropped: homing::Result<()> = tx
                .transaction(|inner| async move {
                    add(&inner, "undone").await?;
                    drop_while_running(world, &inner, "select pg_sleep(2.1)").await;
                    let error = inner.query("select 2", &[]).await.unwrap_err();
                    assert!(error.is_rejected() && error.to_string().contains("dropped"), "{error}");
                    Ok(())
                })
                .await;
            assert!(dropped.unwrap_err().is_rejected());
            assert_eq!(tx.query_one("select 3", &[]).await?.get::<_, i32>(0), 3);
            Ok(())
        })
        .await
        .unwrap();
        let error = repo
            .transaction(|tx| async move {
                add(&tx, "lost").await?;
                drop_while_running(world, &tx, "select pg_sleep(2.2)").await;
                Ok(())
            })
            .await
            .unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("dropped"), "{error}");
        assert_eq!(repo.execute("delete from users", &[]).await.unwrap(), 1);
        assert_nothing_is_open(world).await;
    }
}

#[tokio::test]
async fn disconnected_peer_rolls_back() {
    let linked = Linked::start().await;
    let world = &linked.world;
    let relay = &linked.relay;
    let error = linked
        .syd
        .repo()
        .transaction(|tx| async move {
            add(&tx, "Ada").await?;
            relay.drop_connections().await;
            assert_nothing_is_open(world).await;
            let error = timeout(PATIENCE, add(&tx, "Grace")).await.unwrap().unwrap_err();
            assert!(error.is_not_sent() && !error.is_misuse(), "{error:?}");
            let again = tx.query("select 1", &[]).await.unwrap_err();
            assert!(again.to_string().contains("lost"), "{again}");
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(!error.is_outcome_unknown() && !error.is_committed(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 0);
    wait_until("the peer is back", async || add(&linked.syd.repo(), "back").await.is_ok()).await;
}

#[tokio::test]
async fn dead_peer_fails_statement_at_once() {
    let linked = Linked::start().await;
    let repo = linked.syd.repo().with_call_timeout(PATIENCE * 2);
    let call = tokio::spawn(async move {
        repo.transaction(|tx| async move {
            add(&tx, "Ada").await?;
            tx.execute("select pg_sleep(73)", &[]).await
        })
        .await
    });
    wait_until_running(&linked.world.primary, "%pg_sleep(73)%", 1).await;
    linked.relay.cut(Cut::Reset).await;
    let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_not_sent() && !error.is_misuse(), "{error:?}");
    assert_nothing_is_open(&linked.world).await;
}

#[tokio::test]
async fn silent_link_ends_and_rolls_back() {
    let linked = Linked::start().await;
    let relay = &linked.relay;
    let repo = linked.syd.repo().with_call_timeout(Duration::from_secs(1));
    let options = TransactionOptions::default().with_idle_timeout(Duration::from_secs(1));
    let error = repo
        .transaction_with(options, |tx| async move {
            add(&tx, "Ada").await?;
            relay.cut(Cut::Blackhole).await;
            let error = timeout(PATIENCE, add(&tx, "Grace")).await.unwrap().unwrap_err();
            assert!(error.is_not_sent(), "{error:?}");
            Err::<(), _>(error)
        })
        .await
        .unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert_nothing_is_open(&linked.world).await;
    let error = timeout(
        PATIENCE,
        repo.transaction(|tx| async move {
            add(&tx, "Ada").await?;
            Ok(())
        }),
    )
    .await
    .unwrap()
    .unwrap_err();
    assert!(error.is_not_sent() && !error.is_outcome_unknown(), "{error:?}");
}

/// A deferred trigger delays the commit.
#[tokio::test]
async fn peer_death_during_commit_is_settled() {
    let linked = Linked::start().await;
    linked
        .world
        .primary
        .batch_execute(
            "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(74); return new; end $$;
             create constraint trigger linger after insert on users deferrable initially deferred
                 for each row execute function linger();",
        )
        .await
        .unwrap();
    let repo = linked.syd.repo().with_call_timeout(PATIENCE * 2);
    // It is not repeated, even if a nested transaction had a conflict before.
    let body = |tx: Repo| async move {
        let conflict = "do $$ begin raise exception using errcode = 'serialization_failure'; end $$";
        let nested = tx.transaction(|nested| async move { nested.execute(conflict, &[]).await });
        nested.await.unwrap_err();
        add(&tx, "Ada").await
    };
    let call = tokio::spawn(async move { repo.retry_transaction(TransactionOptions::default(), body).await });
    wait_until_running(&linked.world.primary, "COMMIT", 1).await;
    linked.relay.cut(Cut::Reset).await;
    assert_nothing_is_open(&linked.world).await;
    assert!(!call.is_finished(), "no peer can tell what became of it");
    linked.relay.heal().await.unwrap();
    let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_not_sent() && !error.is_outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn idle_transaction_is_rolled_back() {
    let world = World::shared().await;
    let options = TransactionOptions::default().with_idle_timeout(Duration::from_millis(200));
    for node in [&world.iad, &world.syd] {
        let world = &world;
        let error = node
            .repo()
            .transaction_with(options, |tx| async move {
                add(&tx, "Ada").await?;
                assert_nothing_is_open(world).await;
                let error = add(&tx, "Grace").await.unwrap_err();
                assert!(error.is_not_sent() && error.to_string().contains("idle"), "{error}");
                Err::<(), _>(error)
            })
            .await
            .unwrap_err();
        assert!(error.is_not_sent() && error.to_string().contains("idle_timeout"), "{error}");
        let error = node
            .repo()
            .transaction_with(options, |tx| async move {
                add(&tx, "Ada").await?;
                assert_nothing_is_open(world).await;
                Ok(())
            })
            .await
            .unwrap_err();
        assert!(error.is_not_sent() && error.to_string().contains("idle"), "at the commit: {error}");
    }
    assert_eq!(world.users_on_primary().await, 0);
    assert_the_pool_is_whole(&world).await;
}

#[tokio::test]
async fn closed_connection_leaves_nothing() {
    let world = World::shared().await;
    for node in [&world.iad, &world.syd] {
        let primary = &world.primary;
        let error = node
            .repo()
            .transaction(|tx| async move {
                add(&tx, "Ada").await?;
                let pid: i32 = tx.query_one("select pg_backend_pid()", &[]).await?.get(0);
                primary.execute("select pg_terminate_backend($1, 5000)", &[&pid]).await.unwrap();
                add(&tx, "Grace").await
            })
            .await
            .unwrap_err();
        assert!(error.is_not_sent() && !error.is_misuse(), "{error:?}");
    }
    assert_eq!(world.users_on_primary().await, 0);
    assert_the_pool_is_whole(&world).await;
}

#[tokio::test]
async fn shutdown_lets_transaction_end() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let second = servers.primary_node(&world.database).await;
    let peers = in_iad(second.local_addr());
    let syd = servers.replica_node(&world.database, peers).await;
    let (begun, wait) = oneshot::channel::<()>();
    let (repo, reports) = recorded(&syd.repo());
    let call = tokio::spawn(async move {
        repo.transaction(|tx| async move {
            add(&tx, "Ada").await?;
            begun.send(()).unwrap();
            tx.execute("select pg_sleep(0.3)", &[]).await?;
            add(&tx, "Grace").await
        })
        .await
    });
    timeout(PATIENCE, wait).await.unwrap().unwrap();
    timeout(PATIENCE, second.shutdown()).await.unwrap();
    timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!(reports.last().operation, "transaction");
    assert_eq!(world.users_on_primary().await, 2);
}

#[tokio::test]
async fn dropped_node_leaves_nothing() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let second = servers.primary_node(&world.database).await;
    let peers = in_iad(second.local_addr());
    let syd = servers.replica_node(&world.database, peers).await;
    let world_ref = &world;
    let error = syd
        .repo()
        .transaction(|tx| async move {
            add(&tx, "Ada").await?;
            drop(second);
            assert_nothing_is_open(world_ref).await;
            add(&tx, "Grace").await
        })
        .await
        .unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn peer_without_primary_begins_none() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let replica = servers.demoted_node(&world.database).await;
    let both = [replica.local_addr().unwrap(), world.iad.local_addr().unwrap()];
    let syd = servers.replica_node(&world.database, in_iad(both)).await;
    for number in 0..10 {
        let name = format!("user {number}");
        syd.repo().transaction(|tx| async move { add(&tx, &name).await }).await.unwrap();
    }
    let only = in_iad(replica.local_addr());
    let syd = servers.replica_node(&world.database, only).await;
    let error = syd.repo().transaction(|tx| async move { add(&tx, "nobody at home").await }).await.unwrap_err();
    assert!(error.is_not_primary() && error.is_not_sent(), "{error:?}");
    let none = servers.replica_node(&world.database, StaticPeers::none()).await;
    let error = none.repo().transaction(|tx| async move { add(&tx, "nobody at all").await }).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert_eq!(world.users_on_primary().await, 10);
}

/// Begins a transaction and ends it badly. Begins it again if the connection was cut before, or if there was no room.
async fn end_badly(number: u32, repo: &Repo, relay: &Relay) {
    let ended_badly = async { while !begin_and_end_badly(number, repo, relay).await {} };
    timeout(PATIENCE, ended_badly).await.expect("nobody told it of the end");
}

/// Returns whether the transaction had begun.
async fn begin_and_end_badly(number: u32, repo: &Repo, relay: &Relay) -> bool {
    let name = format!("user {number}");
    let begun = tokio::sync::Notify::new();
    let has_begun = AtomicBool::new(false);
    let body = |tx: Repo| {
        let (begun, has_begun) = (&begun, &has_begun);
        async move {
            add(&tx, &name).await?;
            has_begun.store(true, Ordering::Relaxed);
            match number % 6 {
                0 => panic!("a bug of the application"),
                1 => return Err(Error::failed("undo")),
                2 => relay.drop_connections().await,
                _ => begun.notify_one(),
            }
            match number % 6 {
                3 => std::future::pending().await,
                4 => tx.execute("select pg_sleep(75)", &[]).await.map(drop),
                5 => {
                    tx.transaction(|inner| async move { add(&inner, "?").await.and(std::future::pending().await) })
                        .await
                }
                _ => add(&tx, &format!("{name} again")).await.and(Err(Error::failed("undo"))),
            }
        }
    };
    let transaction = std::panic::AssertUnwindSafe(repo.transaction(body)).catch_unwind();
    let mut transaction = std::pin::pin!(transaction);
    tokio::select! {
        ended = &mut transaction => assert!(!matches!(ended, Ok(Ok(())))),
        () = begun.notified() => {
            // Polls into the next call, and then drops it.
            let _ = futures_util::poll!(&mut transaction);
            tokio::task::yield_now().await;
        }
    }
    has_begun.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_lost_ones_leave_nothing() {
    let linked = Linked::start().await;
    stream::iter(0..1000)
        .for_each_concurrent(6, |number| {
            let node = if number % 5 == 0 { &linked.world.iad } else { &linked.syd };
            let (repo, relay) = (node.repo(), &linked.relay);
            async move { end_badly(number, &repo, relay).await }
        })
        .await;
    assert_nothing_is_open(&linked.world).await;
    assert_eq!(linked.world.users_on_primary().await, 0);
    assert_the_pool_is_whole(&linked.world).await;
}
