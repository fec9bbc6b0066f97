//! Servers and their replicas.

use homing_testbed::{CertificateAuthority, Postgres, Shutdown, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

#[tokio::test]
async fn replica_gets_rows_of_primary() {
    let primary = Postgres::start().await.unwrap();
    let replica = Postgres::options().with_name("syd").start_replica_of(&primary).await.unwrap();
    assert!(replica.is_replica().await.unwrap());
    assert!(!primary.is_replica().await.unwrap());

    let writer = primary.connect().await.unwrap();
    writer.batch_execute("create table t (id int8); insert into t values (7)").await.unwrap();
    replica.caught_up_with(&primary).await.unwrap();
    assert_eq!(count(&replica).await, 1);

    let name = "select application_name from pg_stat_replication";
    assert_eq!(writer.query_one(name, &[]).await.unwrap().get::<_, &str>(0), "syd");
}

#[tokio::test]
async fn paused_replay_hides_rows_until_resumed() {
    let (primary, replica) = pair().await;
    replica.pause_replay().await.unwrap();
    insert(&primary).await;
    let received = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
    let client = replica.connect().await.unwrap();
    wait_until("the row is received", async || client.query_one(received, &[]).await.unwrap().get(0)).await;
    assert_eq!(count(&replica).await, 0);

    replica.resume_replay().await.unwrap();
    replica.caught_up_with(&primary).await.unwrap();
    assert_eq!(count(&replica).await, 1);
}

#[tokio::test]
async fn promoted_replica_takes_writes() {
    let (primary, replica) = pair().await;
    replica.pause_replay().await.unwrap();
    insert(&primary).await;
    primary.kill().await.unwrap();
    replica.promote().await.unwrap();
    assert!(!replica.is_replica().await.unwrap());
    insert(&replica).await;
}

#[tokio::test]
async fn replica_may_follow_replica() {
    let (primary, replica) = pair().await;
    let second = Postgres::options().start_replica_of(&replica).await.unwrap();
    insert(&primary).await;
    second.caught_up_with(&primary).await.unwrap();
    assert_eq!(count(&second).await, 1);
}

#[tokio::test]
async fn commits_survive_kill_on_same_port() {
    let (primary, replica) = pair().await;
    let address = primary.address();
    for _ in 0..2 {
        insert(&primary).await;
        primary.kill().await.unwrap();
        assert!(primary.connect().await.is_err());
        primary.start_again().await.unwrap();
    }
    assert_eq!(primary.address(), address);
    assert_eq!(count(&primary).await, 2);
    // The replica finds its primary again.
    replica.caught_up_with(&primary).await.unwrap();

    primary.stop(Shutdown::Fast).await.unwrap();
    primary.stop(Shutdown::Immediate).await.unwrap();
    primary.start_again().await.unwrap();
    primary.start_again().await.unwrap();
    assert_eq!(count(&primary).await, 2);
}

#[tokio::test]
async fn settings_apply_at_start_and_later() {
    let primary =
        Postgres::options().with_max_connections(33).with_setting("search_path", "app, public").start().await.unwrap();
    assert_eq!(show(&primary, "max_connections").await, "33");
    assert_eq!(show(&primary, "search_path").await, "app, public");
    assert_eq!(show(&primary, "fsync").await, "on");

    let before = primary.log().position().unwrap();
    primary.reconfigure(&[("log_statement", "all"), ("work_mem", "1MB")]).await.unwrap();
    let client = primary.connect().await.unwrap();
    client.batch_execute("select 'needle'").await.unwrap();
    let printed = primary.log().since(before).unwrap();
    assert_eq!(printed.matches("statement: select 'needle'").count(), 1, "{printed}");
    assert_eq!(show(&primary, "work_mem").await, "1MB");

    let error = primary.reconfigure(&[("work_mem", "much")]).await.unwrap_err();
    assert_eq!(error.db().unwrap().code().code(), "22023");
    assert!(primary.reconfigure(&[("a = 1; --", "")]).await.unwrap_err().is_misuse());
}

#[tokio::test]
async fn limited_files_are_full_disk() {
    let server = Postgres::start().await.unwrap();
    server.limit_files(Some(17 << 20));
    server.stop(Shutdown::Fast).await.unwrap();
    server.start_again().await.unwrap();
    let fill = "create table t as select repeat('x', 1000) from generate_series(1, 30000)";
    let error = server.connect().await.unwrap().batch_execute(fill).await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().starts_with("could not extend file"), "{error:?}");

    server.limit_files(None);
    server.stop(Shutdown::Fast).await.unwrap();
    server.start_again().await.unwrap();
    server.connect().await.unwrap().batch_execute(fill).await.unwrap();
}

#[tokio::test]
async fn servers_have_distinct_system_identifiers() {
    let (one, two) = tokio::join!(Postgres::start(), Postgres::start());
    let query = "select system_identifier::text from pg_control_system()";
    let (one, two) = (text(&one.unwrap(), query).await, text(&two.unwrap(), query).await);
    assert_ne!(one, two);
}

#[tokio::test]
async fn databases_of_server_are_apart() {
    let server = Postgres::start().await.unwrap();
    let url = server.create_database("one \"quoted\"").await.unwrap();
    assert!(url.starts_with("postgres://postgres@127.0.0.1:"));
    let client = server.connect_to("one \"quoted\"").await.unwrap();
    client.batch_execute("create table t ()").await.unwrap();
    assert!(server.connect().await.unwrap().batch_execute("select from t").await.is_err());
}

#[tokio::test]
async fn failed_start_says_why() {
    let error = Postgres::options().with_setting("work_mem", "much").start().await.unwrap_err();
    assert!(error.is_exited());
    assert!(error.to_string().contains("work_mem"), "{error}");
    let error = Postgres::options().with_name("../etc").start().await.unwrap_err();
    assert!(error.is_misuse());
}

async fn pair() -> (Postgres, Postgres) {
    let primary = Postgres::start().await.unwrap();
    primary.connect().await.unwrap().batch_execute("create table t (id int8)").await.unwrap();
    let replica = Postgres::options().start_replica_of(&primary).await.unwrap();
    replica.caught_up_with(&primary).await.unwrap();
    (primary, replica)
}

async fn insert(server: &Postgres) {
    let client = server.connect().await.unwrap();
    client.batch_execute("insert into t values (1)").await.unwrap();
}

async fn count(server: &Postgres) -> i64 {
    let client = server.connect().await.unwrap();
    client.query_one("select count(*) from t", &[]).await.unwrap().get(0)
}

async fn show(server: &Postgres, name: &str) -> String {
    text(server, &format!("show {name}")).await
}

async fn text(server: &Postgres, query: &str) -> String {
    server.connect().await.unwrap().query_one(query, &[]).await.unwrap().get(0)
}

/// PostgreSQL answers a request for TLS with one letter:
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.
#[tokio::test]
async fn certificate_makes_servers_offer_tls() {
    let authority = CertificateAuthority::new("authority").unwrap();
    let certificate = authority.issue(&["127.0.0.1"]).unwrap();
    let primary = Postgres::options().with_certificate(&certificate).start().await.unwrap();
    let replica = Postgres::options().start_replica_of(&primary).await.unwrap();
    let plain = Postgres::options().with_setting("ssl", "off").start().await.unwrap();
    for (server, answer) in [(&primary, b'S'), (&replica, b'S'), (&plain, b'N')] {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), answer);
    }
    primary.renew_certificate(&authority.issue(&["db.example"]).unwrap()).await.unwrap();
}

#[tokio::test]
async fn access_rules_replace_trust() {
    let server = Postgres::options().with_access("host all known 127.0.0.1/32 trust").start().await.unwrap();
    server.connect().await.unwrap().batch_execute("create role known login; create role other login").await.unwrap();
    for (role, is_let_in) in [("known", true), ("other", false)] {
        assert_eq!(server.config().user(role).connect(NoTls).await.is_ok(), is_let_in, "{role}");
    }
}
