//! The position of a commit, and the mistakes that other ways to read it make.

use std::time::Duration;

use homing::position::{Lsn, Position};
use homing::report::AnsweredBy;
use homing::transaction::{Isolation, TransactionOptions};
use homing::{Consistency, OnLag, Repo};
use tokio_postgres::Client;

use crate::fixture::{NewUser, Servers, User, are_places, count_users, in_iad, recorded, start};

/// Trap: on a quiet primary the insert position after a commit that fills its page lies past the header of the next
/// one, which replay does not reach until the next write.
#[tokio::test]
async fn commit_at_page_end_is_reached() {
    if !are_places() {
        return;
    }
    let servers = Servers::start(&[("autovacuum", "off"), ("checkpoint_timeout", "1h")]).await;
    let world = servers.world().await;
    let (repo, reports) =
        recorded(&world.syd.repo().with_on_lag(OnLag::Fail).with_replay_timeout(Duration::from_secs(3)));
    let mut filled = 0;
    for number in 0..400 {
        let before = written(&world.primary).await;
        repo.insert(&NewUser::named(&format!("{number:04}"))).await.unwrap();
        let after = reports.last().position.unwrap();
        if lsn(after).is_multiple_of(PAGE) {
            filled += 1;
        }
        if filled == 3 {
            return;
        }
        // The next one is as long as this one: move it so that it ends with the page.
        pad(&world.primary, lsn(after) - before).await;
    }
    panic!("none of 400 commits ended with its page");
}

/// Trap: with `synchronous_commit = off` a commit is not flushed when it returns, and the flush position lies before it.
#[tokio::test]
async fn unflushed_commit_is_waited_for() {
    let servers = Servers::start(&[("wal_writer_delay", "10s")]).await;
    let world = servers.world().await;
    let database = &world.database;
    world.primary.batch_execute(&format!("alter database {database} set synchronous_commit = off")).await.unwrap();
    let iad = servers.primary_node(database).await;
    let syd = servers.replica_node(database, in_iad(iad.local_addr())).await;
    let repo = syd.repo();
    for number in 1..=20 {
        repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
        assert_eq!(world.users_on_replica().await, number);
    }
    repo.rpc_and_wait::<u64>("import", &["by a function"]).await.unwrap();
    assert_eq!(world.users_on_replica().await, 21);
}

/// Trap: other sessions' commits with `synchronous_commit = off` are visible before they are flushed.
#[tokio::test]
async fn unflushed_commit_binds_its_readers() {
    let servers = Servers::start(&[("wal_writer_delay", "10s"), ("autovacuum", "off")]).await;
    let world = servers.world().await;
    let global = world.syd.repo().with_consistency(Consistency::Global);
    let reads: [(&str, &Repo); 5] = [
        ("entity", &global),
        ("raw", &global),
        ("stream", &global),
        ("copy", &global),
        ("transaction", &world.syd.repo()),
    ];
    // The statements are prepared, so that nothing but the commit is written below.
    for unflushed in [false, true] {
        for (kind, repo) in reads {
            let client = servers.primary.connect_to(&world.database).await.unwrap();
            client.batch_execute("set synchronous_commit = off").await.unwrap();
            if unflushed {
                client.execute("insert into users (name) values ($1)", &[&kind]).await.unwrap();
            }
            let repo = repo.session();
            let read = match kind {
                "entity" => repo.exists::<User>("where name = $1", &[&kind]).await.unwrap(),
                "raw" => repo.query("select 1 from users where name = $1", &[&kind]).await.unwrap().len() == 1,
                "stream" => {
                    let mut rows = repo.stream("select 1 from users where name = $1", &[&kind]).await.unwrap();
                    rows.next().await.transpose().unwrap().is_some()
                }
                "copy" => {
                    let sql = format!("copy (select 1 from users where name = '{kind}') to stdout");
                    repo.copy_out(&sql).await.unwrap().next().await.transpose().unwrap().is_some()
                }
                _ => {
                    let serializable = TransactionOptions::read_only().with_isolation(Isolation::Serializable);
                    let read = repo.transaction_with(serializable, |tx| async move {
                        tx.exists::<User>("where name = $1", &[&kind]).await
                    });
                    read.await.unwrap()
                }
            };
            assert_eq!(read, unflushed, "{kind}");
            let (later, reports) = recorded(&repo.with_consistency(Consistency::Session));
            assert_eq!(later.exists::<User>("where name = $1", &[&kind]).await.unwrap(), unflushed, "{kind}");
            assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{kind}");
        }
    }
    // A token of reads next to the primary.
    let client = servers.primary.connect_to(&world.database).await.unwrap();
    client.batch_execute("set synchronous_commit = off; insert into users (name) values ('token')").await.unwrap();
    let reader = world.iad.repo();
    assert_eq!(count_users(&reader).await, 6);
    let token = reader.token().await.unwrap();
    assert_eq!(count_users(&world.syd.repo().with_token(token).unwrap()).await, 6);
}

/// Nothing flushes a page that is not full if no transaction commits.
#[tokio::test]
async fn read_flushes_what_it_waits_for() {
    let servers = Servers::start(&[("wal_writer_delay", "10s"), ("autovacuum", "off")]).await;
    let world = servers.world().await;
    let repo = world.syd.repo().with_on_lag(OnLag::Fail);
    world
        .primary
        .batch_execute("begin; insert into users (name) select i::text from generate_series(1, 50) i")
        .await
        .unwrap();
    assert!(written(&world.primary).await > flushed(&world.primary).await);
    assert_eq!(count_users(&repo.with_consistency(Consistency::Global)).await, 0);
    assert_eq!(count_users(&repo).await, 0);
    world.primary.batch_execute("commit").await.unwrap();
}

/// Trap: read in the same message as the statement, the position is the one before the commit.
#[tokio::test]
async fn position_is_not_before_commit() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let (repo, reports) = recorded(&world.syd.repo());
    for number in 0..10 {
        let before = written(&world.primary).await;
        repo.batch_execute(&format!("insert into users (name) values ('script {number}')")).await.unwrap();
        let after_script = lsn(reports.last().position.unwrap());
        assert!(!are_places() || after_script > before);
        let new: Vec<_> = (0..3).map(|row| NewUser::named(&format!("{number}/{row}"))).collect();
        repo.insert_all(&new).await.unwrap();
        assert!(!are_places() || lsn(reports.last().position.unwrap()) > after_script);
        assert_eq!(world.users_on_replica().await, (number + 1) * 4);
    }
}

#[tokio::test]
async fn replica_of_other_cluster_is_named() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let others = Servers::start(&[]).await;
    others.primary.create_database(&world.database).await.unwrap();
    others.replica.caught_up_with(&others.primary).await.unwrap();
    // A peer would refuse the write.
    let mut config = servers.primary_config(&world.database);
    config.replica_url = Some(others.replica.database_url(&world.database));
    let node = start(config).await.unwrap();
    let mut error = node.repo().replica("iad").unwrap().insert(&NewUser::named("Ada")).await.unwrap_err();
    assert!(error.is_committed(), "{error:?}");
    assert!(error.to_string().contains("another cluster"), "{error}");
    assert_eq!(error.take_value::<crate::fixture::User>().unwrap().name, "Ada");
    assert_eq!(world.users_on_primary().await, 1);
}

fn lsn(position: Position) -> u64 {
    position.lsn.into()
}

async fn flushed(client: &Client) -> u64 {
    let row = client.query_one("select pg_current_wal_flush_lsn()", &[]).await.unwrap();
    row.get::<_, Lsn>(0).into()
}

async fn written(client: &Client) -> u64 {
    let row = client.query_one("select pg_current_wal_insert_lsn()", &[]).await.unwrap();
    row.get::<_, Lsn>(0).into()
}

/// Writes a message of its own to the log, so that a record of `length` after it ends with the page.
async fn pad(client: &Client, length: u64) {
    let at = written(client).await;
    let mut missing = (PAGE - (at + length) % PAGE) % PAGE;
    if missing < MESSAGE_OVERHEAD {
        missing += PAGE - PAGE_HEADER;
    }
    let payload = i32::try_from(missing - MESSAGE_OVERHEAD).unwrap();
    client.execute("select pg_logical_emit_message(false, 'p', repeat('x', $1))", &[&payload]).await.unwrap();
}

const PAGE: u64 = 8192;
const PAGE_HEADER: u64 = 24;

/// The header of a record, the header of its data and of the message, and the prefix.
const MESSAGE_OVERHEAD: u64 = 56;
