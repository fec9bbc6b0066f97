//! What an attacker gets from the words of two nodes, and strangers who answer instead of a node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing_rpc::{FunctionError, Refusal, Registry, Rpc, Secret, ServerHandle, StaticPeers};
use homing_testbed::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::world::{ANY_PORT, Link, Relay, client, config, functions, offering, refused, region, server_of, soon};

const LIMIT: Duration = Duration::from_secs(10);
const SECRET: &[u8] = b"a-secret-that-is-long-enough-for-tests";

/// A node of `iad` whose function `count` counts its calls.
async fn counting() -> (ServerHandle, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut registry = functions("iad");
    let count = {
        let calls = Arc::clone(&calls);
        move |_, ()| {
            let calls = calls.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, FunctionError>(calls))
        }
    };
    registry.register_fn("count", count).unwrap();
    (offering("iad", registry).start().await.unwrap(), calls)
}

/// The bytes of one direction of each connection.
type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

/// Something at an address that is not a node, and what clients said to it.
struct Stranger {
    address: SocketAddr,
    heard: Recorded,
    /// What it answered, or what the target of a relay did.
    said: Recorded,
    _tasks: JoinSet<()>,
}

/// What a stranger does with a connection.
#[derive(Clone)]
enum Answer {
    /// Sends each byte back.
    Echo,
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Passes everything on to this address, from 127.0.0.2.
    PassOn(SocketAddr),
}

impl Stranger {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, said) = <(Recorded, Recorded)>::default();
        let mut tasks = JoinSet::new();
        let records = (Arc::clone(&heard), Arc::clone(&said));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(converse(stream, answer.clone(), records.clone()));
            }
        });
        Self { address, heard, said, _tasks: tasks }
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

async fn converse(stream: TcpStream, answer: Answer, (heard, said): (Recorded, Recorded)) {
    let (mut from_client, mut to_client) = stream.into_split();
    match answer {
        Answer::Echo => copy(&mut from_client, &mut to_client, &heard).await,
        Answer::Bytes(bytes) => {
            let _ = to_client.write_all(&bytes).await;
            copy(&mut from_client, &mut tokio::io::sink(), &heard).await;
        }
        Answer::PassOn(target) => {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let target = socket.connect(target).await.unwrap();
            let (mut from_target, mut to_target) = target.into_split();
            tokio::join!(copy(&mut from_client, &mut to_target, &heard), copy(&mut from_target, &mut to_client, &said));
        }
    }
}

/// Copies until one side ends, and adds what was read to the recording.
async fn copy(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin), recorded: &Recorded) {
    let number = {
        let mut recorded = recorded.lock().unwrap();
        recorded.push(Vec::new());
        recorded.len() - 1
    };
    let mut bytes = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        recorded.lock().unwrap()[number].extend_from_slice(&bytes[..count]);
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Sends bytes to a server, and waits until it has closed the connection.
async fn replay(server: &ServerHandle, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    // It may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = soon("end of the connection", stream.read_to_end(&mut Vec::new())).await;
}

/// Returns whether the recording has eight bytes in a row of the secret, as they are, in hexadecimal digits or in base64.
fn betrays(recording: &[u8]) -> bool {
    let hexadecimal: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    // "a-secret-that-is-long-enough-for-tests" without the last byte, in the three alignments of base64.
    let base64 =
        [&b"YS1zZWNyZXQtdGhhdC1pcy1sb25n"[..], b"Etc2VjcmV0LXRoYXQtaXMtbG9uZw", b"hLXNlY3JldC10aGF0LWlzLWxvbm"];
    let texts = [SECRET, hexadecimal.as_bytes()].into_iter().chain(base64);
    let mut parts = texts.flat_map(|text| text.windows(8));
    parts.any(|part| recording.windows(8).any(|bytes| bytes == part))
}

#[tokio::test]
async fn recording_is_worthless_later() {
    let (iad, calls) = counting().await;
    let tap = Stranger::start(Answer::PassOn(iad.local_addr())).await;
    let rpc = client(&[tap.address]);
    for number in 0..3_usize {
        assert_eq!(rpc.call_primary::<usize>("count", (), LIMIT).await.unwrap().value, number);
    }
    drop(rpc);
    let from_client = tap.heard().remove(0);
    let from_server = tap.said.lock().unwrap().remove(0);
    assert!(from_client.windows(5).any(|bytes| bytes == b"count"), "it is a recording of the calls");
    assert!(!betrays(&from_client) && !betrays(&from_server));
    assert!(betrays(b"authorization: Bearer a-secret-that-is-long-enough-for-tests"));
    assert!(betrays(b"YS1zZWNyZXQtdGhhdC1pcy1sb25nLWVub3VnaC1mb3ItdGVzdHM="));

    // Whole, in both directions, and with any beginning of one.
    for bytes in [&from_client, &from_server] {
        replay(&iad, bytes).await;
    }
    for length in [1, 8, 57, 73, 105, 106, 129] {
        replay(&iad, &from_client[..length]).await;
    }
    // With the recorded answer to the recorded hello.
    for bytes in [&from_client, &from_server] {
        let stranger = Stranger::start(Answer::Bytes(bytes.clone())).await;
        let rpc = client(&[stranger.address]);
        let error = rpc.call_primary::<usize>("count", (), LIMIT).await.unwrap_err();
        assert!(error.is_not_sent() && error.is_unauthenticated(), "{error:?}");
        let hello = stranger.heard().remove(0);
        assert_eq!(hello.len(), 73, "the client has said no more than its hello");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let counts = refused(&iad);
    assert!(counts.contains(&(Refusal::FalseProof, 4)), "{counts:?}");
}

#[tokio::test]
async fn stranger_at_old_address_gets_nothing() {
    let (iad, calls) = counting().await;
    let http1 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
    let old_build = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\0\x40\0".to_vec();
    for (answer, advice) in [
        (Answer::Echo, ""),
        (Answer::Bytes(http1), "another program"),
        (Answer::Bytes(old_build), "older build"),
        (Answer::Bytes(b"\0homing\x02\x02".to_vec()), "another version"),
    ] {
        let stranger = Stranger::start(answer).await;
        let rpc = client(&[stranger.address]);
        let error = rpc.call_primary::<usize>("count", (), LIMIT).await.unwrap_err();
        assert!(error.is_not_sent() && error.is_unauthenticated(), "{error:?}");
        assert!(error.to_string().contains(advice), "{error}");
        for hello in stranger.heard() {
            assert_eq!(hello.len(), 73);
            assert!(!betrays(&hello));
            replay(&iad, &hello).await;
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(refused(&iad).iter().map(|(refusal, _)| *refusal).collect::<Vec<_>>(), [Refusal::Closed]);
}

#[tokio::test]
async fn own_handshake_is_not_passed_back() {
    let (config, calls) = (config("iad"), Arc::new(AtomicUsize::new(0)));
    let mut registry = Registry::new();
    let count = {
        let calls = Arc::clone(&calls);
        move |_, ()| std::future::ready(Ok::<_, FunctionError>(calls.fetch_add(1, Ordering::SeqCst)))
    };
    registry.register_fn("count", count).unwrap();
    let config = config.with_functions(Arc::new(registry));
    let iad = server_of(config.clone()).start().await.unwrap();
    let stranger = Stranger::start(Answer::PassOn(iad.local_addr())).await;
    let addresses = [iad.local_addr(), stranger.address];
    let rpc = Rpc::new(config, Arc::new(StaticPeers::none().with_region(region("iad"), addresses)));
    let names = rpc.peers(&region("iad"), LIMIT).await.unwrap().into_iter().map(|peer| peer.name);
    let (itself, others): (Vec<_>, Vec<_>) = names.partition(|name| name.address == iad.local_addr());
    rpc.call_peer::<usize>(&itself[0], "count", (), LIMIT).await.unwrap();
    let error = rpc.call_peer::<usize>(&others[0], "count", (), LIMIT).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("this node itself"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(refused(&iad), [(Refusal::Reflected, 1)]);
}

#[tokio::test]
async fn files_change_the_secret_of_running_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["old", "new"].map(|name| format!("{name}-secret-that-is-long-enough-for-tests"));
    let files = ["iad", "syd"].map(|name| folder.path().join(name));
    let write = |file: usize, text: &str| std::fs::write(&files[file], format!("{text}\n")).unwrap();
    write(0, &texts[0]);
    write(1, &texts[0]);
    let node = |name: &str, file: usize| config(name).with_secret(Secret::from_file(&files[file]).unwrap());
    let iad = server_of(node("iad", 0)).start().await.unwrap();
    let relay = Relay::to(iad.local_addr()).await;
    let peers = |address| Arc::new(StaticPeers::none().with_region(region("iad"), [address]));
    let rpc = Rpc::new(node("syd", 1), peers(relay.address));
    let call = async |rpc: &Rpc| rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.map(|called| called.value);
    assert_eq!(call(&rpc).await.unwrap(), 3);

    write(0, &format!("{},{}", texts[1], texts[0]));
    let with_new = || Rpc::new(config("syd").with_secret(Secret::new(&texts[1]).unwrap()), peers(iad.local_addr()));
    wait_until("the server has read its file", async || call(&with_new()).await.is_ok()).await;
    assert_eq!(call(&rpc).await.unwrap(), 3, "the open connection goes on");
    write(1, &texts[1]);
    write(0, &texts[1]);
    let with_old = || Rpc::new(config("syd").with_secret(Secret::new(&texts[0]).unwrap()), peers(iad.local_addr()));
    wait_until("the server has read its file again", async || call(&with_old()).await.is_err()).await;
    relay.set(Link::Cut);
    relay.connections(0).await;
    relay.set(Link::Open);
    wait_until("a new connection uses the new secret", async || call(&rpc).await.is_ok()).await;
}
