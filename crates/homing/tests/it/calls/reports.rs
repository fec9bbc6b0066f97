//! Observers receive one report for each call, whatever its outcome.

use std::time::Duration;

use homing::discover::StaticPeers;
use homing::error::SqlState;
use homing::report::{AnsweredBy, Report};
use homing::{Fate, OnLag};

use crate::fixture::{NewUser, Reports, Servers, User, World, recorded};

type Told = (&'static str, Option<Fate>);

fn told(reports: &Reports) -> Vec<Told> {
    reports.take().iter().map(|report| (report.operation, report.fate)).collect()
}

#[tokio::test]
async fn each_call_is_reported_once() {
    let world = World::shared().await;
    for node in [&world.iad, &world.syd] {
        let (repo, reports) = recorded(&node.repo());
        let name = format!("Ada in {}", repo.region());
        let ada = NewUser::named(&name);
        let user = repo.insert(&ada).await.unwrap();
        assert_eq!(told(&reports), [("insert", None)]);

        let error = repo.insert(&ada).await.unwrap_err();
        assert_eq!((error.code(), error.fate()), (Some(&SqlState::UNIQUE_VIOLATION), Fate::Rejected));
        assert_eq!(told(&reports), [("insert", Some(Fate::Rejected))]);

        repo.query("select no_such_column from users", &[]).await.unwrap_err();
        repo.execute("update users set name = $1 where false", &[&7_i32]).await.unwrap_err();
        assert_eq!(told(&reports), [("query", Some(Fate::Rejected)), ("execute", Some(Fate::NotSent))]);

        // It is one call, although PostgreSQL first has to say that it writes.
        let rename = "update users set name = name || '!' where id = $1 returning name";
        repo.query_one(rename, &[&user.id]).await.unwrap();
        assert!(repo.query_one(rename, &[&-1_i64]).await.unwrap_err().is_not_found());
        assert_eq!(told(&reports), [("query_one", None), ("query_one", Some(Fate::Rejected))]);

        repo.one::<User>("where false", &[]).await.unwrap_err();
        repo.get_by::<User>(&[("age", &"a")]).await.unwrap_err();
        repo.aggregate::<User, String>(homing::Aggregate::max("age"), "", &[]).await.unwrap_err();
        let rejected = Some(Fate::Rejected);
        assert_eq!(told(&reports), [("one", rejected), ("get_by", Some(Fate::NotSent)), ("aggregate", rejected)]);

        let error = repo.rpc_and_wait::<()>("half", (format!("Grace of {name}"), "fails")).await.unwrap_err();
        assert!(error.fate() == Fate::FunctionFailed && error.fate().may_have_written(), "{error:?}");
        assert_eq!(told(&reports), [("rpc", Some(Fate::FunctionFailed))]);

        repo.stream("select 1 / 0", &[]).await.unwrap_err();
        repo.batch_execute("select 1; nonsense").await.unwrap_err();
        assert_eq!(told(&reports), [("stream", Some(Fate::Rejected)), ("batch_execute", Some(Fate::Rejected))]);
    }
}

#[tokio::test]
async fn transaction_reports_statement_and_commit() {
    let world = World::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    let failed = repo.transaction(|tx| async move {
        tx.insert(&NewUser::named("Ada")).await?;
        let _ = tx.execute("select 1 / 0", &[]).await;
        Ok(())
    });
    assert!(failed.await.unwrap_err().is_rejected());
    let rejected = Some(Fate::Rejected);
    assert_eq!(told(&reports), [("insert", None), ("execute", rejected), ("transaction", rejected)]);

    let missing = repo.transaction(|tx| async move {
        tx.query_one("select 1 where false", &[]).await.unwrap_err();
        tx.one::<User>("where false", &[]).await.unwrap_err();
        tx.update(&User { id: -1, name: String::new(), age: None }).await.unwrap_err();
        Ok(())
    });
    missing.await.unwrap();
    assert_eq!(
        told(&reports),
        [("query_one", rejected), ("one", rejected), ("update", rejected), ("transaction", None)]
    );

    repo.transaction(|_| async move { Ok(()) }).await.unwrap();
    assert_eq!(told(&reports), [], "nothing was sent");
}

#[tokio::test]
async fn unanswered_call_is_reported_not_sent() {
    let world = World::shared().await;
    let alone = Servers::shared().await.replica_node(&world.database, StaticPeers::none()).await;
    let (repo, reports) = recorded(&alone.repo().with_call_timeout(Duration::from_millis(100)));
    repo.insert(&NewUser::named("Ada")).await.unwrap_err();
    let Report { fate, answered_by, attempts, position, .. } = reports.last();
    assert_eq!((fate, answered_by, attempts, position), (Some(Fate::NotSent), AnsweredBy::Unknown, 0, None));
}

#[tokio::test]
async fn unseen_commit_is_reported_in_full() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let patience = Duration::from_millis(200);
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(patience).with_on_lag(OnLag::Fail));
    servers.replica.pause_replay().await.unwrap();
    assert!(repo.insert(&NewUser::named("Ada")).await.unwrap_err().is_committed());
    let report = reports.last();
    assert_eq!((reports.count(), report.fate), (1, Some(Fate::Committed)));
    assert!(report.answered_by.peer().is_some() && report.position.is_some(), "{report:?}");
    assert!(report.stages.replay_wait >= patience, "{report:?}");

    repo.get::<User>(1).await.unwrap_err();
    assert_eq!((reports.count(), reports.last().fate), (2, Some(Fate::NotSent)));
}
