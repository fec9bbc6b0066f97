//! Servers that do not answer a handshake as they should.

use std::time::Duration;

use homing_postgres::{Config, Database, Options, Repo, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::server::{lonely, refusal};

/// Starts a server that answers the request for TLS with these bytes and then says nothing, or closes the connection.
async fn server(answer: &'static [u8], closes: bool) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://either@{}/postgres", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 8]).await;
            let _ = socket.write_all(answer).await;
            if !closes {
                open.push(socket);
            }
        }
    });
    (url, task)
}

/// The clock is paused: it moves on to the next time limit whenever nothing else can happen.
#[tokio::test(start_paused = true)]
async fn silent_handshake_is_bounded() {
    const LIMIT: Duration = Duration::from_secs(5);
    for answer in [&b""[..], b"S"] {
        let (url, _server) = server(answer, false).await;
        for mode in ["prefer", "require"] {
            let config = Config::new(format!("{url}?sslmode={mode}"), Role::Replica);
            let database = Database::connect(config).await.unwrap();
            let repo = Repo::new(lonely(), database, Options::default().with_call_timeout(LIMIT));
            let started = Instant::now();
            assert!(repo.query("select 1", &[]).await.unwrap_err().is_not_sent());
            assert!(started.elapsed() <= LIMIT, "{mode}: {:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn broken_handshake_is_named() {
    for (answer, closes, part) in [
        (&b"S"[..], true, "the TLS handshake failed"),
        (b"SHTTP/1.1 400 Bad Request\r\n\r\n", false, "the TLS handshake failed"),
        (b"E", false, "does not offer TLS"),
        (b"N", false, "does not offer TLS"),
    ] {
        let (url, _server) = server(answer, closes).await;
        let refused = refusal(&format!("{url}?sslmode=require")).await;
        assert!(refused.contains(part), "{refused}");
    }
}
