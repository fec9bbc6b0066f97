//! Panics of the tasks that watch peers and accept connections: what goes on, and what begins again.

use std::time::Duration;

use homing_rpc::Rpc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::lines::Lines;
use crate::world::{ANY_PORT, client, serve, server, soon};

async fn add(rpc: &Rpc) -> homing_rpc::Result<i64> {
    soon("add", rpc.call_primary("add", (40, 2), Duration::from_secs(10))).await.map(|called| called.value)
}

#[tokio::test]
async fn call_outlives_panic_of_peer_task() {
    let lines = Lines::with_panics_at(&["peer is up"]);
    let iad = serve("iad").await;
    // The call waits for the peer whose task panics.
    assert_eq!(add(&client(&[iad.local_addr()])).await.unwrap(), 42);
    assert_eq!(lines.count(&["ERROR", "watching a peer panicked"]), 1);
}

#[tokio::test]
async fn region_starts_again_after_panic() {
    let _lines = Lines::with_panics_at(&["peer is down"]);
    let address = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
    let rpc = client(&[address]);
    let error = add(&rpc).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("a bug that is in the log"), "{error}");
    let _iad = server("iad").listen(address).start().await.unwrap();
    assert_eq!(add(&rpc).await.unwrap(), 42);
}

#[tokio::test]
async fn server_listens_after_panics() {
    let in_acceptor = "the task of a connection panicked";
    let lines = Lines::with_panics_at(&["a caller is refused", in_acceptor]);
    let iad = serve("iad").await;
    let mut stranger = TcpStream::connect(iad.local_addr()).await.unwrap();
    stranger.write_all(&[b'x'; 64]).await.unwrap();
    lines.wait_for(&["ERROR", in_acceptor]).await;
    assert_eq!(add(&client(&[iad.local_addr()])).await.unwrap(), 42);
    assert_eq!(lines.count(&["ERROR", "accepting connections panicked"]), 1);
}
