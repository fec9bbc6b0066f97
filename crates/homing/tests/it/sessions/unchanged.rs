//! Calls that wrote nothing have nothing to wait for, and open transactions of other sessions do not hold up reads.

use std::time::Duration;

use futures_util::TryStreamExt;
use homing::report::{AnsweredBy, Report};
use homing::{Batch, Consistency, Context, Node, OnLag, Repo};
use homing_testbed::wait_until;
use tokio_postgres::Client;

use crate::fixture::{NewUser, Reports, Servers, User, World, are_places, in_iad, recorded};

/// Counts in a function.
#[homing::remote]
async fn count(context: Context) -> homing::Result<i64> {
    context.repo().count::<User>("", &[]).await
}

/// Counts in a function that is one transaction.
#[homing::remote(transactional)]
async fn count_at_once(context: Context) -> homing::Result<i64> {
    context.repo().count::<User>("", &[]).await
}

/// Two nodes. The calls of the handle, which is of the node in `syd`, fail if they wait for the replica too long.
struct Nodes {
    servers: Servers,
    world: World,
    repo: Repo,
    reports: Reports,
}

impl Nodes {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let servers = Servers::start(settings).await;
        let world = servers.world().await;
        world.primary.batch_execute("create table bulk (n int)").await.unwrap();
        let iad = Node::with_config(servers.primary_config(&world.database)).register(count).register(count_at_once);
        let iad = iad.start().await.unwrap();
        let syd = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
        syd.repo().insert(&NewUser::named("Ada")).await.unwrap();
        let (repo, reports) = recorded(&syd.repo().with_on_lag(OnLag::Fail));
        Self { servers, world: World { iad, syd, ..world }, repo, reports }
    }

    /// Returns the report of the last call, which has to have written nothing.
    fn unchanged(&self) -> Report {
        let report = self.reports.last();
        assert!(!report.wrote && report.position.is_none() && report.fate.is_none(), "{report:?}");
        report
    }

    /// Inserts in bulk until the log is flushed into the middle of a record, so that no replica gets there.
    async fn stall(&self, bulk: &Client) {
        bulk.batch_execute("insert into bulk select generate_series(1, 20000)").await.unwrap();
        wait_until("the log ends inside of a record", async || {
            let flushed =
                "select pg_current_wal_flush_lsn()::text, pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()";
            let flushed = self.world.primary.query_one(flushed, &[]).await.unwrap();
            let received =
                "select pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()";
            let received = self.world.replica.query_one(received, &[]).await.unwrap();
            flushed.get::<_, String>(0) == received.get::<_, String>(0) && flushed.get(1) && received.get(1)
        })
        .await;
    }
}

#[tokio::test]
async fn call_that_wrote_nothing_returns_at_once() {
    let nodes = Nodes::start(&[]).await;
    nodes.servers.replica.pause_replay().await.unwrap();
    nodes.world.primary.batch_execute("insert into users (name) values ('Grace')").await.unwrap();

    let repo = nodes.repo.session();
    assert_eq!(repo.execute("update users set age = 1 where name = 'Linus'", &[]).await.unwrap(), 0);
    nodes.unchanged();
    // In a session of its own: after the update, the session does not read from a replica that is older. With its key, since
    // a sequence that moves is a write.
    let repo = nodes.repo.session();
    let stored = "insert into users (id, name) values (1, 'Ada') on conflict do nothing";
    assert_eq!(repo.execute(stored, &[]).await.unwrap(), 0);
    nodes.unchanged();
    let absent = User { id: 77, name: "Linus".into(), age: None };
    let error = repo.update(&absent).await.unwrap_err();
    assert!(error.is_not_found() && error.is_rejected() && !error.is_committed(), "{error:?}");
    let mut batch = Batch::new();
    batch.execute("first", "update users set age = 1 where id = 77", []).unwrap();
    batch.execute("second", "delete from users where id = 78", []).unwrap();
    repo.batch(&batch).await.unwrap();
    nodes.unchanged();
    let both = repo.transaction(async |tx| tx.count::<User>("", &[]).await).await.unwrap();
    nodes.unchanged();
    assert_eq!(repo.rpc_and_wait::<i64>("count", ()).await.unwrap(), both);
    nodes.unchanged();
    assert_eq!(repo.rpc_and_wait::<i64>("count_at_once", ()).await.unwrap(), both);
    nodes.unchanged();

    // A write waits, and so does a read that would go back in time.
    let short = repo.with_replay_timeout(Duration::from_millis(50));
    assert!(short.get::<User>(1).await.unwrap_err().is_not_sent());
    assert!(short.insert(&NewUser::named("Alan")).await.unwrap_err().is_committed());
    nodes.servers.replica.resume_replay().await.unwrap();
    nodes.servers.replica.caught_up_with(&nodes.servers.primary).await.unwrap();
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), both + 1);
    assert_eq!(nodes.reports.last().answered_by, AnsweredBy::Local);
}

#[tokio::test]
async fn open_transaction_holds_up_no_read() {
    let nodes = Nodes::start(&[("autovacuum", "off"), ("checkpoint_timeout", "1h")]).await;
    let bulk = nodes.servers.primary.connect_to(&nodes.world.database).await.unwrap();
    bulk.batch_execute("begin").await.unwrap();
    let repo = &nodes.repo;
    let global = repo.with_consistency(Consistency::Global);
    let check_local_read = async || {
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 1);
        assert_eq!(nodes.reports.last().answered_by, AnsweredBy::Local);
    };

    nodes.stall(&bulk).await;
    assert_eq!(global.count::<User>("", &[]).await.unwrap(), 1);
    check_local_read().await;
    nodes.stall(&bulk).await;
    assert_eq!(global.query("select 1 from users", &[]).await.unwrap().len(), 1);
    check_local_read().await;
    nodes.stall(&bulk).await;
    let rows: Vec<_> = global.stream("select 1 from users", &[]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.len(), 1);
    check_local_read().await;
    nodes.stall(&bulk).await;
    assert_eq!(repo.transaction(async |tx| tx.count::<User>("", &[]).await).await.unwrap(), 1);
    check_local_read().await;
    nodes.stall(&bulk).await;
    assert_eq!(repo.rpc_and_wait::<i64>("count", ()).await.unwrap(), 1);
    check_local_read().await;
    nodes.stall(&bulk).await;
    let token = nodes.world.iad.repo();
    assert_eq!(token.count::<User>("", &[]).await.unwrap(), 1);
    let reader = repo.with_token(token.token().await.unwrap()).unwrap();
    assert_eq!(reader.count::<User>("", &[]).await.unwrap(), 1);
    assert_eq!(nodes.reports.last().answered_by, AnsweredBy::Local);
    bulk.batch_execute("rollback").await.unwrap();
}

/// Commits of other sessions with `synchronous_commit = off` are visible before they are flushed.
#[tokio::test]
async fn asynchronous_commit_is_not_unseen() {
    let nodes = Nodes::start(&[("wal_writer_delay", "10s")]).await;
    let (repo, global) = (&nodes.repo, nodes.repo.with_consistency(Consistency::Global));
    let other = nodes.servers.primary.connect_to(&nodes.world.database).await.unwrap();
    other.batch_execute("set synchronous_commit = off").await.unwrap();
    for users in 2..=20 {
        other.batch_execute("insert into users (name) values ('user ' || random())").await.unwrap();
        assert_eq!(global.count::<User>("", &[]).await.unwrap(), users);
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), users);
        assert_eq!(nodes.reports.last().answered_by, AnsweredBy::Local);
    }
}

#[tokio::test]
async fn local_write_asks_for_no_position() {
    let servers = Servers::start(&[("log_statement", "all")]).await;
    let world = servers.world().await;
    let question =
        if are_places() { "from pg_current_wal_flush_lsn() as lsn" } else { "select pg_catalog.pg_current_xact_id()," };
    let asked = || servers.primary.log().contents().unwrap().matches(question).count();
    let (before, repo) = (asked(), world.iad.repo());
    let ada = repo.insert(&NewUser::named("Ada")).await.unwrap();
    repo.execute("update users set age = 7", &[]).await.unwrap();
    repo.query("select 1", &[]).await.unwrap();
    repo.batch_execute("update users set age = 8; update users set age = 9").await.unwrap();
    repo.transaction(async |tx| tx.delete(&ada).await).await.unwrap();
    repo.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(asked(), before);

    // It is asked once when the session goes elsewhere.
    assert!(!repo.knows_its_writes());
    let token = repo.token().await.unwrap();
    assert!(repo.knows_its_writes());
    assert_eq!(repo.token().await.unwrap(), token);
    assert_eq!(asked(), before + 1);
    servers.replica.pause_replay().await.unwrap();
    repo.insert(&NewUser::named("Alan")).await.unwrap();
    let (reader, reports) = recorded(&world.syd.repo().with_token(repo.token().await.unwrap()).unwrap());
    let reader = reader.with_replay_timeout(Duration::from_millis(50));
    assert_eq!(reader.count::<User>("", &[]).await.unwrap(), 2);
    assert!(reports.last().answered_by.peer().is_some());
}
