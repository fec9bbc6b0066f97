//! What the metadata of requests cost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homing_rpc::{Cluster, Expectations, Rpc, StaticPeers};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{ANY_PORT, config_of, region, server_of, topology};

const LIMIT: Duration = Duration::from_secs(10);
const CALLS: usize = 200;

/// Passes connections on to a server, and counts the bytes that go there.
async fn counted(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let (address, bytes) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&bytes);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    count.fetch_add(read, Ordering::SeqCst);
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    (address, bytes)
}

/// Returns the bytes of the first call and of many calls, with or without the names of what they expect.
async fn bytes_of_calls(names: bool) -> (usize, usize) {
    let node = |name| config_of(if names { topology(name).with_app("guestbook") } else { topology(name) });
    let iad = server_of(node("iad")).start().await.unwrap();
    let (address, bytes) = counted(iad.local_addr()).await;
    let rpc = Rpc::new(node("syd"), Arc::new(StaticPeers::none().with_region(region("iad"), [address])));
    rpc.describe(&region("iad"), LIMIT).await.unwrap();
    let call = async || {
        let cluster = names.then(|| Cluster::from(7_312_394_723_947_239_472));
        let expected = Expectations { cluster, ..Expectations::default() };
        rpc.call_after::<i64>(&region("iad"), "", "add", (1, 2), expected, LIMIT).await.unwrap();
    };
    let before = bytes.load(Ordering::SeqCst);
    call().await;
    let first = bytes.load(Ordering::SeqCst) - before;
    for _ in 1..CALLS {
        call().await;
    }
    (first, bytes.load(Ordering::SeqCst) - before)
}

/// HPACK sends a header that was sent before as one or two bytes (RFC 7541).
#[tokio::test]
async fn expectations_cost_few_bytes() {
    let (without, with) = (bytes_of_calls(false).await, bytes_of_calls(true).await);
    let each = |(_, all): (usize, usize)| all as f64 / CALLS as f64;
    println!(
        "first call: {} and {} bytes; each of {CALLS}: {:.1} and {:.1}",
        without.0,
        with.0,
        each(without),
        each(with)
    );
    assert!(each(with) < each(without) + 10.0, "{without:?} {with:?}");
}
