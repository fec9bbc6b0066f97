//! Transactions that run again after a serialization failure.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homing::error::SqlState;
use homing::transaction::{Isolation, TransactionOptions};
use homing::{Error, Repo};
use tokio::sync::Barrier;

use super::{Refusal, add};
use crate::fixture::{NewUser, World};

fn serializable() -> TransactionOptions {
    TransactionOptions::default().with_isolation(Isolation::Serializable)
}

/// Two doctors go home, each if the other one stays. In the first attempt, both look before one of them leaves.
#[tokio::test]
async fn one_of_two_conflicting_transactions_runs_again() {
    let world = World::shared().await;
    world.primary.batch_execute("create table doctors (id int primary key, on_call bool)").await.unwrap();
    for nodes in [[&world.iad, &world.iad], [&world.syd, &world.syd], [&world.iad, &world.syd]] {
        let refill = "truncate doctors; insert into doctors values (0, true), (1, true)";
        world.primary.batch_execute(refill).await.unwrap();
        let (attempts, both) = (AtomicU32::new(0), Barrier::new(2));
        let go_home = async |repo: Repo, id: i32| {
            let leave = async |tx: Repo| {
                let staying: i64 = tx.query_one("select count(*) from doctors where on_call", &[]).await?.get(0);
                if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                    both.wait().await;
                }
                if staying > 1 {
                    tx.execute("update doctors set on_call = false where id = $1", &[&id]).await?;
                }
                Ok(staying)
            };
            repo.retry_transaction(serializable().with_max_attempts(100), leave).await
        };
        let (first, second) = tokio::join!(go_home(nodes[0].repo(), 0), go_home(nodes[1].repo(), 1));
        let mut seen = [first.unwrap(), second.unwrap()];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        // PostgreSQL may choose both.
        assert!(attempts.load(Ordering::SeqCst) >= 3);
    }
}

#[tokio::test]
async fn deadlock_victim_runs_again() {
    let world = World::shared().await;
    world.primary.batch_execute("insert into users (name, age) values ('a', 0), ('b', 0)").await.unwrap();
    let (attempts, both) = (AtomicU32::new(0), Barrier::new(2));
    let older = async |repo: Repo, names: [&str; 2]| {
        let body = async |tx: Repo| {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            for (number, name) in names.into_iter().enumerate() {
                tx.execute("update users set age = age + 1 where name = $1", &[&name]).await?;
                if attempt < 2 && number == 0 {
                    both.wait().await;
                }
            }
            Ok(())
        };
        repo.retry_transaction(TransactionOptions::default(), body).await
    };
    let (first, second) = tokio::join!(older(world.iad.repo(), ["a", "b"]), older(world.syd.repo(), ["b", "a"]));
    first.and(second).unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    let ages = world.primary.query("select age from users where age = 2", &[]).await.unwrap();
    assert_eq!(ages.len(), 2);
}

const CONFLICT: &str = "do $$ begin raise exception 'not now' using errcode = 'serialization_failure'; end $$";

#[tokio::test]
async fn attempts_are_bounded() {
    let world = World::shared().await;
    for (_, node) in world.both() {
        let attempts = AtomicU32::new(0);
        let fail = async |tx: Repo| {
            attempts.fetch_add(1, Ordering::SeqCst);
            add(&tx, "Ada").await?;
            tx.execute(CONFLICT, &[]).await
        };
        let options = serializable().with_max_attempts(3);
        let error = node.repo().retry_transaction(options, fail).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
        assert!(error.is_rejected());
        assert_eq!(attempts.load(Ordering::SeqCst), 3);

        let options = options.with_max_attempts(u32::MAX).with_time_limit(Duration::from_millis(500));
        let error = node.repo().retry_transaction(options, fail).await.unwrap_err();
        // The limit may pass while a statement is under way.
        assert!(error.is_rejected() || error.is_not_sent(), "{error:?}");
    }
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn other_failures_are_not_repeated() {
    let world = World::shared().await;
    for (region, node) in world.both() {
        let attempts = AtomicU32::new(0);
        let count = || attempts.fetch_add(1, Ordering::SeqCst);
        let repo = node.repo();
        let twice = async |tx: Repo| {
            count();
            add(&tx, "Ada").await?;
            add(&tx, "Ada").await
        };
        let error = repo.retry_transaction(serializable(), twice).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
        let own = async |tx: Repo| {
            count();
            add(&tx, "Ada").await?;
            Err::<(), _>(Error::failed("no"))
        };
        assert!(repo.retry_transaction(serializable(), own).await.unwrap_err().is_function_failed());
        assert_eq!(attempts.swap(0, Ordering::SeqCst), 2, "{region}");

        // A conflict in a nested transaction that the closure came over.
        let nested = async |tx: Repo| {
            count();
            let inner = async |inner: Repo| inner.execute(CONFLICT, &[]).await;
            tx.transaction(inner).await.unwrap_err();
            tx.insert(&NewUser::named(region)).await
        };
        repo.retry_transaction(TransactionOptions::default(), nested).await.unwrap();
        let misuse = async |tx: Repo| {
            count();
            tx.retry_transaction(serializable(), async |tx| add(&tx, "Ada").await).await
        };
        assert!(repo.retry_transaction(serializable(), misuse).await.unwrap_err().is_misuse());
        assert_eq!(attempts.load(Ordering::SeqCst), 2, "{region}");
    }
    assert_eq!(world.users_on_primary().await, 2);
}

/// PostgreSQL reports the conflict at the commit, or the closure hides it in an error of its own.
#[tokio::test]
async fn late_and_hidden_conflicts_are_repeated() {
    let world = World::shared().await;
    world
        .primary
        .batch_execute(
            "create sequence commits;
             create function conflict() returns trigger language plpgsql as $$ begin
                 if nextval('commits') % 3 > 0 then
                     raise exception 'not now' using errcode = 'serialization_failure';
                 end if;
                 return null;
             end $$;
             create constraint trigger conflict after insert on users deferrable initially deferred
             for each row execute function conflict()",
        )
        .await
        .unwrap();
    for (region, node) in world.both() {
        let attempts = AtomicU32::new(0);
        let body = async |tx: Repo| {
            attempts.fetch_add(1, Ordering::SeqCst);
            add(&tx, region).await
        };
        let stored = node.repo().retry_transaction(serializable(), body).await.unwrap();
        assert_eq!((stored.name.as_str(), attempts.load(Ordering::SeqCst)), (region, 3));
        let hidden = async |tx: Repo| {
            if attempts.fetch_add(1, Ordering::SeqCst) < 5 {
                tx.execute(CONFLICT, &[]).await.unwrap_err();
                return Err(Refusal::TooYoung(7));
            }
            Ok(tx.query_one("select 7", &[]).await?.get::<_, i32>(0))
        };
        let done = node.repo().try_retry_transaction(serializable(), hidden).await;
        assert_eq!((done.unwrap(), attempts.load(Ordering::SeqCst)), (7, 6));
    }
    assert_eq!(world.users_on_primary().await, 2);
}
