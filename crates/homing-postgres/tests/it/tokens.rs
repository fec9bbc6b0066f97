//! A session that reads from two replicas.

use std::sync::Arc;

use homing_postgres::{AnsweredBy, Config, Database, Error, Repo, Role, SqlState, TransactionOptions};
use homing_testbed::wait_until;
use tokio::sync::Notify;

use crate::servers::{Servers, options};

async fn notes(repo: &Repo) -> usize {
    repo.query("select text from notes", &[]).await.unwrap().len()
}

/// Whether the session has to see a position.
fn requires_a_position(repo: &Repo) -> bool {
    repo.token_of_writes() != repo.session().token_of_writes()
}

#[tokio::test]
async fn another_replica_is_not_older() {
    let servers = Servers::start().await;
    let [fresh, stale] = &servers.replicas;
    let (first, second) = (servers.handles().await, servers.handles().await);
    stale.pause_replay().await.unwrap();
    let client = servers.primary.connect().await.unwrap();
    client.batch_execute("insert into notes values ('first')").await.unwrap();
    fresh.caught_up_with(&servers.primary).await.unwrap();

    assert_eq!(notes(&first[1]).await, 0);
    assert_eq!(notes(&first[0]).await, 1);
    assert_eq!(notes(&first[1]).await, 1);
    assert_eq!(notes(&first[1].session()).await, 0);

    // The replica of the earlier read is gone by now.
    assert_eq!(notes(&second[0]).await, 1);
    fresh.kill().await.unwrap();
    assert_eq!(notes(&second[1]).await, 1);

    stale.resume_replay().await.unwrap();
    stale.caught_up_with(&servers.primary).await.unwrap();
    let (sender, reports) = std::sync::mpsc::channel();
    let back = second[1].with_observer(move |report| sender.send(report.answered_by.clone()).unwrap());
    assert_eq!(notes(&back).await, 1);
    assert_eq!(reports.recv().unwrap(), AnsweredBy::Local);
}

/// A transaction, however it ends, and the error of a write tell what is stored. Both replicas are behind, except that the
/// first one has the first row.
#[tokio::test]
async fn whatever_shows_a_row_binds_the_session() {
    let servers = Servers::start().await;
    let [fresh, stale] = &servers.replicas;
    let client = servers.primary.connect().await.unwrap();
    client.batch_execute("create unique index on notes (text)").await.unwrap();
    stale.caught_up_with(&servers.primary).await.unwrap();
    stale.pause_replay().await.unwrap();
    client.batch_execute("insert into notes values ('first')").await.unwrap();
    fresh.caught_up_with(&servers.primary).await.unwrap();
    fresh.pause_replay().await.unwrap();
    let [on_fresh, on_stale] = servers.handles().await;
    let later = async |shown: &str, session: &Repo| {
        let token = session.token().await.unwrap();
        let on_stale = session.replica("mel").unwrap();
        assert!(notes(&on_stale).await > 0, "{shown}");
        assert!(notes(&on_stale.session().with_token(token).unwrap()).await > 0, "{shown}");
    };
    assert_eq!(notes(&on_stale).await, 0);

    let session = on_fresh.session();
    let snapshot = session.transaction_with(TransactionOptions::read_only(), |tx| async move { Ok(notes(&tx).await) });
    assert_eq!(snapshot.await.unwrap(), 1);
    later("a snapshot of the other replica", &session).await;

    let session = on_stale.session();
    let rolled_back = session.transaction(|tx| async move {
        assert_eq!(notes(&tx).await, 1);
        Err::<(), _>(Error::failed("as the application wants"))
    });
    rolled_back.await.unwrap_err();
    later("a transaction that was rolled back", &session).await;

    let session = on_stale.session();
    let read = Arc::new(Notify::new());
    let has_read = Arc::clone(&read);
    let hanging = session.transaction(|tx| async move {
        assert_eq!(notes(&tx).await, 1);
        has_read.notify_one();
        std::future::pending::<homing_postgres::Result<()>>().await
    });
    tokio::select! {
        _ = hanging => unreachable!(),
        () = read.notified() => {}
    }
    later("a transaction that was dropped", &session).await;

    let session = on_stale.session();
    let committed = session.transaction(|tx| async move { Ok(notes(&tx).await) });
    assert_eq!(committed.await.unwrap(), 1);
    later("a transaction that was committed", &session).await;

    let session = on_stale.session();
    let error = session.execute("insert into notes values ('first')", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    later("the error of a write", &session).await;
}

#[tokio::test]
async fn the_same_replica_is_asked_nothing() {
    let servers = Servers::start().await;
    let database = Database::connect(Config::new(servers.replicas[0].url(), Role::Replica)).await.unwrap();
    let handle = Repo::new(servers.rpc.clone(), Some(database), options());
    assert_eq!(notes(&handle).await, 0);
    assert_eq!(notes(&handle).await, 0);
    assert!(!requires_a_position(&handle));
    assert!(handle.database().unwrap().tracker().state().borrow().is_none());
    handle.token().await.unwrap();
    assert!(requires_a_position(&handle));
}

/// A role without `pg_monitor` learns of a switch of the timeline late, so a replica that lost its primary is in doubt.
#[tokio::test]
async fn doubtful_replica_lowers_no_session() {
    let servers = Servers::start().await;
    let [fresh, stale] = &servers.replicas;
    let client = servers.primary.connect().await.unwrap();
    client.batch_execute("create role ordinary login; grant all on notes to ordinary").await.unwrap();
    for replica in &servers.replicas {
        replica.caught_up_with(&servers.primary).await.unwrap();
    }
    let [first, second] = servers.handles_as("ordinary").await;
    stale.pause_replay().await.unwrap();
    client.batch_execute("insert into notes values ('first')").await.unwrap();
    fresh.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(notes(&first).await, 1);
    servers.primary.kill().await.unwrap();
    let alone = fresh.connect().await.unwrap();
    let sql = "select count(*) = 0 from pg_stat_wal_receiver";
    wait_until(sql, async || alone.query_one(sql, &[]).await.unwrap().get(0)).await;

    match second.query("select text from notes", &[]).await {
        Ok(rows) => assert_eq!(rows.len(), 1, "it is older than an earlier read"),
        Err(error) => assert!(error.is_not_sent(), "{error:?}"),
    }
}
