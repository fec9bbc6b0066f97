//! Arbitrary bytes at the port of a node, without and with the proof of the secret before them.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::strangers::Process;
use crate::world::{client, secret, soon};

const LIMIT: Duration = Duration::from_secs(10);

/// How many connections send arbitrary bytes, and how many of them at the same time.
const CONNECTIONS: u64 = 1000;
const AT_ONCE: usize = 50;

/// How much memory they may cost: more than the buffers of so many connections.
const MAX_MORE_KB: u64 = 32 * 1024;

const MAGIC: &[u8] = b"\0homing\x01";

/// What a client of HTTP/2 sends first, with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The beginning of a TLS ClientHello.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";

fn random(rng: &mut SmallRng, max: usize) -> Vec<u8> {
    (0..rng.random_range(0..=max)).map(|_| rng.random()).collect()
}

/// Frames of HTTP/2 whose lengths are mostly right and whose other fields are arbitrary.
fn frames(rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.random_range(1..10) {
        let payload = random(rng, 100);
        let length = if rng.random_bool(0.9) { payload.len() as u32 } else { rng.random_range(0..1 << 24) };
        bytes.extend(&length.to_be_bytes()[1..]);
        bytes.extend([rng.random_range(0..12), rng.random()]);
        let stream: u32 = if rng.random_bool(0.7) { rng.random_range(0..8) } else { rng.random() };
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

/// The words of a client that proves nothing.
fn unproven(rng: &mut SmallRng) -> Vec<u8> {
    let beginning = [b"", MAGIC, PREFACE, CLIENT_HELLO, b"GET / HTTP/1.1\r\n"][rng.random_range(0..5)];
    [beginning, &random(rng, 300)].concat()
}

/// The words of a client that has proven that it knows the secret.
fn proven(rng: &mut SmallRng) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => random(rng, 1000),
        1 => [PREFACE, &random(rng, 300)].concat(),
        _ => [PREFACE, &frames(rng)].concat(),
    }
}

/// Proves to the node that this client knows its secret.
async fn prove(stream: &mut TcpStream) {
    let key = |side| secret().key(&format!("homing handshake 1 {side}"));
    let header = [MAGIC, &[9; 16], &rand::random::<[u8; 32]>()].concat();
    let offer = &key("offer").sign(&header)[..16];
    let hello = [&header, &[1][..], offer].concat();
    stream.write_all(&hello).await.unwrap();
    // The answer and the proof of the server.
    let mut answer = [0; 42 + 32];
    soon("answer", stream.read_exact(&mut answer)).await.unwrap();
    let proof = key("client").sign(&[&hello[..], &answer].concat());
    stream.write_all(&proof).await.unwrap();
}

/// Sends arbitrary bytes, and perhaps reads what the node says to them.
async fn disturb(target: SocketAddr, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let socket = TcpSocket::new_v4().unwrap();
    // Not the address of the peers.
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut stream = socket.connect(target).await.unwrap();
    let words = match seed % 2 {
        0 => unproven(&mut rng),
        _ => {
            prove(&mut stream).await;
            proven(&mut rng)
        }
    };
    // The node may have closed the connection.
    let _ = stream.write_all(&words).await;
    if rng.random_bool(0.5) {
        let _ = stream.shutdown().await;
        soon("end of a connection", async { while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} })
            .await;
    }
}

#[tokio::test]
async fn arbitrary_bytes_leave_node_well() {
    let mut node = Process::start();
    let target: SocketAddr = node.says("listening").parse().unwrap();
    let known = client(&[target]);
    let add =
        async |rpc: &homing_rpc::Rpc| soon("call", rpc.call_primary::<i64>("add", (1, 2), LIMIT)).await.unwrap().value;
    assert_eq!(add(&known).await, 3);
    let before = node.memory();
    let mut connections = JoinSet::new();
    for seed in 0..CONNECTIONS {
        connections.spawn(disturb(target, seed));
        if connections.len() == AT_ONCE {
            connections.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(ended) = connections.join_next().await {
        ended.unwrap();
    }
    assert_eq!((add(&known).await, add(&client(&[target])).await), (3, 3));
    let after = node.memory();
    println!("resident memory: {before} kB before, {after} kB after {CONNECTIONS} connections");
    assert!(after < before + MAX_MORE_KB, "{before} kB before, {after} kB after");
}
