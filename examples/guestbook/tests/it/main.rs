//! The commands of the program, as deployments use them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::process::{Command, Stdio};

use homing_testbed::{NodeCommand, Postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

/// A port of which nothing is heard.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Fetches a page, and returns the status.
async fn status(host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn node_lives_without_its_database() {
    let node = NodeCommand::new(env!("CARGO_BIN_EXE_guestbook"))
        .arg("serve")
        .env("DATABASE_URL", format!("postgres://app@127.0.0.1:{}/app", closed_port()))
        .env("GUESTBOOK_LISTEN", "127.0.0.1:0")
        .with_name("guestbook")
        .with_ready_prefix("ready http=");
    let node = node.start().await.unwrap();
    let host = node.ready_line().await;
    assert_eq!(status(&host, "/livez").await, "200", "a restart would not mend a database");
    assert_eq!(status(&host, "/healthz").await, "503");
    assert_eq!(status(&host, "/livez").await, "200");
}

#[tokio::test]
async fn migration_serves_no_peers() {
    let database = Postgres::start().await.unwrap();
    // If the program listened on it too, it would fail.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let run = async |command, region| {
        let mut guestbook = Command::new(env!("CARGO_BIN_EXE_guestbook"));
        guestbook.arg(command).env("DATABASE_URL", database.url()).stderr(Stdio::null());
        guestbook.env("HOMING_REGION", region).env("HOMING_PRIMARY_REGION", "iad");
        guestbook.env("HOMING_LISTEN", taken.local_addr().unwrap().to_string());
        spawn_blocking(move || guestbook.status()).await.unwrap().unwrap().success()
    };
    assert!(run("migrate", "iad").await && run("migrate", "iad").await, "it may run again");
    let client = database.connect().await.unwrap();
    let entries: i64 = client.query_one("select count(*) from entries", &[]).await.unwrap().get(0);
    assert_eq!(entries, 0);
    assert!(!run("migrate", "syd").await && !run("migrat", "iad").await);
}
