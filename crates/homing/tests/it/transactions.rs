//! Interactive transactions behave the same in the primary region and in another one.

mod calls;
mod limits;
mod lost;
mod read_only;
mod retry;
mod role_defaults;
mod round_trips;
mod silent;

use homing::error::SqlState;
use homing::report::AnsweredBy;
use homing::transaction::{Isolation, TransactionOptions};
use homing::{Error, Repo};
use tokio::sync::oneshot;

use crate::fixture::{NewUser, PATIENCE, User, World, recorded};

fn named(region: &str, name: &str) -> NewUser {
    NewUser::named(&format!("{name} of {region}"))
}

async fn count(repo: &Repo) -> i64 {
    repo.query_one("select count(*) from users", &[]).await.unwrap().get(0)
}

async fn add(repo: &Repo, name: &str) -> homing::Result<User> {
    repo.insert(&NewUser::named(name)).await
}

#[tokio::test]
async fn commit_is_whole_and_visible() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let (repo, reports) = recorded(&node.repo());
        let outside = node.repo();
        let user = repo
            .transaction(|tx| async move {
                assert!(tx.in_transaction());
                let before = count(&tx).await;
                let user = tx.insert(&named(region, "Ada")).await?;
                assert_eq!(tx.get::<User>(user.id).await?.as_ref(), Some(&user));
                let more: Vec<_> = (0..100).map(|number| named(region, &format!("user {number}"))).collect();
                tx.insert_all(&more).await?;
                tx.execute("update users set age = 7 where id = $1", &[&user.id]).await?;
                let user = tx.update(&User { age: Some(8), ..user }).await?;
                assert_eq!(count(&tx).await, before + 101);
                let seen = outside.exists::<User>("where name like $1", &[&format!("% of {region}")]).await?;
                assert!(!seen, "nobody else sees it yet");
                Ok(user)
            })
            .await
            .unwrap();
        assert!(!repo.in_transaction());
        assert_eq!(user.age, Some(8));
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
        assert_eq!(reports.last().answered_by, AnsweredBy::Local, "the replica here has replayed it");
    }
    assert_eq!(world.users_on_replica().await, 202);
}

#[tokio::test]
async fn closure_without_statements_sends_nothing() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let (repo, reports) = recorded(&node.repo());
        assert_eq!(repo.transaction(|_| async { Ok(7) }).await.unwrap(), 7);
        assert_eq!(reports.count(), 0);
    }
}

#[derive(Debug)]
enum Refusal {
    TooYoung(i32),
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[tokio::test]
async fn closure_error_rolls_back() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let refused = repo
            .try_transaction(TransactionOptions::default(), |tx| async move {
                let user = add(&tx, "Ada").await?;
                if user.age < Some(40) {
                    return Err(Refusal::TooYoung(36));
                }
                Ok(user)
            })
            .await;
        assert!(matches!(refused, Err(Refusal::TooYoung(36))), "{refused:?}");
        let refused = repo
            .try_transaction(TransactionOptions::default(), |tx| async move {
                add(&tx, "Ada").await?;
                add(&tx, "Ada").await?;
                Ok::<_, Refusal>(())
            })
            .await;
        let Err(Refusal::Database(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}

#[tokio::test]
async fn failed_statement_aborts_transaction() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let error = node
            .repo()
            .transaction(|tx| async move {
                add(&tx, "Ada").await?;
                let first = add(&tx, "Ada").await.unwrap_err();
                assert_eq!(first.db().unwrap().constraint(), Some("users_name_key"));
                let next = tx.query("select 1", &[]).await.unwrap_err();
                assert!(next.is_rejected(), "{next:?}");
                assert!(next.to_string().contains("duplicate key"), "{next}");
                assert_eq!(next.code(), Some(&SqlState::UNIQUE_VIOLATION));
                Ok(())
            })
            .await
            .unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("duplicate key"), "{region}: {error}");
        assert_eq!(world.users_on_primary().await, 0, "{region}");
    }
}

#[tokio::test]
async fn unfit_results_abort_nothing() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        node.repo()
            .transaction(|tx| async move {
                let user = tx.insert(&named(region, "Ada")).await?;
                let missing = User { id: -1, name: "Nobody".into(), age: None };
                assert!(tx.update(&missing).await.unwrap_err().is_not_found());
                let error = tx.execute("update users set age = $1", &[&"old"]).await.unwrap_err();
                assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
                let error = tx.execute("listen orders", &[]).await.unwrap_err();
                assert!(error.is_misuse(), "{error:?}");
                let huge = "x".repeat(17 * 1024 * 1024);
                assert!(tx.insert(&NewUser::named(&huge)).await.unwrap_err().is_misuse());
                tx.delete(&user).await?;
                Ok(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nested_transaction_is_savepoint() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        node.repo()
            .transaction(|tx| async move {
                tx.insert(&named(region, "kept")).await?;
                let undone: Result<(), _> = tx
                    .transaction(|inner| async move {
                        inner.insert(&named(region, "undone")).await?;
                        inner.transaction(|deep| async move { deep.insert(&named(region, "deep")).await }).await?;
                        assert_eq!(count(&inner).await % 10, 3);
                        Err(Error::failed("not this one"))
                    })
                    .await;
                assert!(undone.unwrap_err().is_function_failed());
                let failed = tx
                    .transaction(|inner| async move {
                        inner.insert(&named(region, "before the failure")).await?;
                        inner.insert(&named(region, "kept")).await
                    })
                    .await;
                assert_eq!(failed.unwrap_err().code(), Some(&SqlState::UNIQUE_VIOLATION));
                let swallowed = tx
                    .transaction(|inner| async move {
                        let _ = inner.execute("select 1 / (select 0)", &[]).await;
                        Ok(())
                    })
                    .await;
                assert!(swallowed.unwrap_err().is_rejected());
                tx.transaction(|inner| async move { inner.insert(&named(region, "kept too")).await }).await?;
                Ok(())
            })
            .await
            .unwrap();
        let sql = "select name from users where name like $1 order by id";
        let rows = node.repo().query(sql, &[&format!("% of {region}")]).await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(names, [format!("kept of {region}"), format!("kept too of {region}")]);
        world.primary.execute("truncate users", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn isolation_is_as_requested() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        for (isolation, sees) in [(Isolation::ReadCommitted, 1), (Isolation::RepeatableRead, 0)] {
            let (other, name) = (&world.primary, format!("{isolation:?} {region}"));
            let options = TransactionOptions::default().with_isolation(isolation);
            repo.transaction_with(options, |tx| async move {
                let before = count(&tx).await;
                other.execute("insert into users (name) values ($1)", &[&name]).await.unwrap();
                assert_eq!(count(&tx).await - before, sees, "{isolation:?} in {region}");
                Ok(())
            })
            .await
            .unwrap();
        }
    }
}

/// Each of two transactions sees that the other one has not written, and writes. No serial order gives that result.
#[tokio::test]
async fn serialization_failure_is_rejected() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let (repo, other) = (node.repo(), world.iad.repo());
        let options = TransactionOptions::default().with_isolation(Isolation::Serializable);
        let error = repo
            .transaction_with(options, |tx| async move {
                count(&tx).await;
                tx.insert(&named(region, "one")).await?;
                other
                    .transaction_with(options, |tx| async move {
                        count(&tx).await;
                        tx.insert(&named(region, "other")).await
                    })
                    .await?;
                Ok(())
            })
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error}");
        assert!(error.is_rejected(), "{error:?}");
        assert_eq!(count(&world.iad.repo()).await, 1);
        world.primary.execute("truncate users", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn deferred_constraint_fails_commit() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute("create table pets (owner bigint references users deferrable initially deferred)")
        .await
        .unwrap();
    for (region, node) in world.both() {
        let error = node
            .repo()
            .transaction(|tx| async move { tx.execute("insert into pets values (999999)", &[]).await })
            .await
            .unwrap_err();
        assert!(error.is_rejected(), "{region}: {error:?}");
        assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
    }
}

#[tokio::test]
async fn transaction_knows_its_schema_changes() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        repo.query("select * from users", &[]).await.unwrap();
        let error = repo
            .transaction(|tx| async move {
                tx.query("select * from users", &[]).await?;
                tx.execute("create type mood as enum ('good', 'bad')", &[]).await?;
                tx.execute("create table notes (id int, text text, mood mood)", &[]).await?;
                tx.execute("insert into notes values ($1, $2, 'good')", &[&1, &"first"]).await?;
                tx.execute("alter table users add column height int default 180", &[]).await?;
                tx.insert(&named(region, "Ada")).await?;
                let row = tx.query_one("select * from users", &[]).await?;
                assert_eq!(row.get::<_, i32>("height"), 180);
                tx.batch_execute("alter table notes add column more int; update notes set more = 7;").await?;
                let row = tx.query_one("select * from notes", &[]).await?;
                assert_eq!((row.get::<_, &str>("text"), row.get::<_, i32>("more")), ("first", 7));
                Err::<(), _>(Error::failed("undo"))
            })
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "undo", "{region}");
        // The pooled connections use the old schema again.
        for _ in 0..4 {
            repo.transaction(|tx| async move {
                assert_eq!(tx.query("select * from users", &[]).await?.len(), 0);
                tx.insert(&named(region, "Ada")).await?;
                let row = tx.query_one("select * from users", &[]).await?;
                assert_eq!(row.columns().len(), 3);
                tx.execute("delete from users", &[]).await
            })
            .await
            .unwrap();
        }
    }
}

#[tokio::test]
async fn local_settings_work_session_ones_fail() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        repo.transaction(|tx| async move {
            tx.execute("set local lock_timeout = '1234ms'", &[]).await?;
            let row = tx.query_one("show lock_timeout", &[]).await?;
            assert_eq!(row.get::<_, &str>(0), "1234ms");
            tx.execute("declare numbers cursor for select generate_series(1, 9)", &[]).await?;
            assert_eq!(tx.execute("fetch 3 from numbers", &[]).await?, 3);
            for sql in ["commit", "savepoint a", "set lock_timeout = 1", "set local synchronous_commit = off"] {
                let error = tx.execute(sql, &[]).await.unwrap_err();
                assert!(error.is_misuse() && error.is_not_sent(), "{sql}: {error:?}");
            }
            let error = tx.batch_execute("select 1; commit; select 2").await.unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
            Ok(())
        })
        .await
        .unwrap();
        let row = repo.query_one("show lock_timeout", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "0");
    }
}

#[tokio::test]
async fn concurrent_calls_run_in_order() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        node.repo()
            .transaction(|tx| async move {
                tx.execute("create table numbers (id serial, value int)", &[]).await?;
                let calls = (0..50).map(|number| {
                    let tx = tx.clone();
                    async move {
                        let sql = "insert into numbers (value) values ($1) returning id, value";
                        let row = tx.query_one(sql, &[&number]).await?;
                        Ok::<_, Error>((row.get::<_, i32>(0), row.get::<_, i32>(1)))
                    }
                });
                let rows = futures_util::future::try_join_all(calls).await?;
                for (number, (id, value)) in (0..).zip(rows) {
                    assert_eq!((id, value), (number + 1, number));
                }
                Err::<(), _>(Error::failed("undo"))
            })
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn outer_handle_fails_while_nested() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        node.repo()
            .transaction(|tx| async move {
                let outer = tx.clone();
                tx.transaction(|inner| async move {
                    inner.insert(&named(region, "Ada")).await?;
                    let error = outer.query("select 1", &[]).await.unwrap_err();
                    assert!(error.is_misuse() && error.to_string().contains("within this one"), "{error}");
                    let second: Result<(), _> = outer.transaction(|_| async { Ok(()) }).await;
                    assert!(second.unwrap_err().is_misuse());
                    Ok(())
                })
                .await?;
                assert_eq!(tx.query("select 1", &[]).await?.len(), 1, "it goes on");
                let options = TransactionOptions::default().with_isolation(Isolation::Serializable);
                let other: Result<(), _> = tx.transaction_with(options, |_| async { Ok(()) }).await;
                assert!(other.unwrap_err().is_misuse());
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(node.repo().execute("delete from users", &[]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn handle_fails_after_its_transaction() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let repo = node.repo();
        let kept = repo
            .transaction(|tx| async move {
                add(&tx, "Ada").await?;
                Ok(tx)
            })
            .await
            .unwrap();
        assert!(kept.in_transaction());
        let error = add(&kept, "Grace").await.unwrap_err();
        assert!(error.is_misuse() && error.is_not_sent() && error.to_string().contains("ended"), "{error}");
        assert!(kept.transaction(|_| async { Ok(()) }).await.unwrap_err().is_misuse());
        assert!(kept.batch_execute("select 1").await.unwrap_err().is_misuse());
        assert_eq!(repo.execute("delete from users", &[]).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn named_functions_fail_before_sending() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        node.repo()
            .transaction(|tx| async move {
                let names = vec!["Ada".to_owned()];
                let error = tx.rpc_and_wait::<u64>("import", &names).await.unwrap_err();
                assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
                let error = crate::fixture::import::call(&tx, names).await.unwrap_err();
                assert!(error.is_misuse() && error.is_not_sent(), "{error:?}");
                Ok(())
            })
            .await
            .unwrap();
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn outer_calls_are_not_part() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo();
        let outer = repo.clone();
        let failed: Result<(), _> = repo
            .transaction(|tx| async move {
                tx.insert(&named(region, "within")).await?;
                outer.insert(&named(region, "outside")).await?;
                Err(Error::failed("undo"))
            })
            .await;
        failed.unwrap_err();
        let rows = repo.query("select name from users", &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<_, String>(0), format!("outside of {region}"));
        repo.execute("delete from users", &[]).await.unwrap();
    }
}

enum Left {
    Behind(tokio::task::JoinHandle<homing::Result<u64>>),
    Failed,
}

impl From<Error> for Left {
    fn from(_: Error) -> Self {
        Self::Failed
    }
}

/// A task that the closure leaves behind neither keeps the transaction open nor writes into it later.
#[tokio::test]
async fn task_left_behind_cannot_continue() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(PATIENCE);
        let (started, wait) = oneshot::channel();
        let failed = repo.try_transaction(TransactionOptions::default(), |tx| async move {
            tx.insert(&named(region, "Ada")).await?;
            let behind = tokio::spawn(async move {
                started.send(()).unwrap();
                tx.execute("select pg_sleep(77)", &[]).await
            });
            wait.await.unwrap();
            Err::<(), _>(Left::Behind(behind))
        });
        let Err(Left::Behind(behind)) = failed.await else { panic!("it was to fail") };
        let error = tokio::time::timeout(PATIENCE, behind).await.unwrap().unwrap().unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("ended"), "{error}");
        assert_eq!(world.users_on_primary().await, 0);
    }
}
