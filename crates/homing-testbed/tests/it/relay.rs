//! Links between sockets.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use homing_testbed::{CallStage, Cut, Relay};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::within;

#[tokio::test]
async fn nothing_is_faster_than_the_link() {
    let relay = Relay::start(echo_server().await).unwrap();
    relay.set_round_trip(Duration::from_millis(50));
    let begun = Instant::now();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    echo(&mut client, b"a").await;
    // Opening takes one round trip, the request another.
    assert!(begun.elapsed() >= Duration::from_millis(100));

    let sent = Instant::now();
    echo(&mut client, b"b").await;
    assert!(sent.elapsed() >= Duration::from_millis(50));

    relay.set_round_trip(Duration::from_millis(80));
    assert_eq!(relay.round_trip(), Duration::from_millis(80));
    let sent = Instant::now();
    echo(&mut client, b"c").await;
    assert!(sent.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn greeting_takes_two_round_trips() {
    let (listener, address) = listen().await;
    let relay = Relay::start(address).unwrap();
    relay.set_round_trip(Duration::from_millis(40));
    let begun = Instant::now();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = accept(&listener).await;
    server.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut client, 5).await, b"hello");
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn jitter_keeps_the_order() {
    let relay = Relay::start(echo_server().await).unwrap();
    relay.set_round_trip(Duration::from_millis(4));
    relay.set_jitter(Duration::from_millis(5));
    let sent: Vec<u8> = (0..6_000_000_u32).map(|i| (i / 7) as u8).collect();
    let (mut from, mut to) = TcpStream::connect(relay.address()).await.unwrap().into_split();
    let copy = sent.clone();
    let sender = tokio::spawn(async move {
        to.write_all(&copy).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    within(from.read_to_end(&mut received)).await.unwrap();
    sender.await.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn blackhole_keeps_bytes_until_healed() {
    let (arrived, mut arrivals) = mpsc::channel(9);
    let relay = Relay::start(reporting_server(arrived).await).unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(within(arrivals.recv()).await, Some(b'a'));

    relay.cut(Cut::Blackhole).await;
    client.write_all(b"b").await.unwrap();
    let mut late = TcpStream::connect(relay.address()).await.unwrap();
    late.write_all(b"c").await.unwrap();
    // Had they been let through, they would have arrived by now.
    let_relays_work().await;
    arrivals.try_recv().unwrap_err();

    relay.heal().await.unwrap();
    let mut rest = [within(arrivals.recv()).await, within(arrivals.recv()).await];
    rest.sort();
    assert_eq!(rest, [Some(b'b'), Some(b'c')]);
}

#[tokio::test]
async fn half_open_link_carries_one_direction() {
    let (listener, address) = listen().await;
    let relay = Relay::start(address).unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = accept(&listener).await;
    for (cut, is_cut_at_server) in [(Cut::BlackholeToServer, true), (Cut::BlackholeToClient, false)] {
        relay.cut(cut).await;
        let (silent, heard) = if is_cut_at_server { (&mut server, &mut client) } else { (&mut client, &mut server) };
        // Each end sends: what one of the two sends arrives.
        silent.write_all(b"a").await.unwrap();
        heard.write_all(b"b").await.unwrap();
        assert_eq!(read(heard, 1).await, b"a", "{cut:?}");
        let_relays_work().await;
        assert_eq!(silent.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "{cut:?}");
        relay.heal().await.unwrap();
        assert_eq!(read(silent, 1).await, b"b", "{cut:?}");
    }
}

#[tokio::test]
async fn call_is_reset_at_its_stage() {
    let (request, answer) = ([b'r'; 100], [b'a'; 100]);
    for (stage, at_server, at_client) in [
        (CallStage::BeforeRequest, 0, 0),
        (CallStage::AfterRequest, 100, 0),
        (CallStage::BeforeAnswer, 100, 0),
        (CallStage::AmidAnswer, 100, 50),
    ] {
        for round_trip in [Duration::ZERO, Duration::from_millis(10)] {
            let (listener, address) = listen().await;
            let relay = Relay::start(address).unwrap();
            relay.set_round_trip(round_trip);
            let mut client = TcpStream::connect(relay.address()).await.unwrap();
            let mut server = accept(&listener).await;
            relay.reset_next_call(stage);
            // What is small is not a call.
            client.write_all(b"ping").await.unwrap();
            assert_eq!(read(&mut server, 4).await, b"ping");
            client.write_all(&request).await.unwrap();
            let mut arrived = Vec::new();
            let serve = async {
                while arrived.len() < request.len() && within(server.read_buf(&mut arrived)).await.is_ok_and(|n| n > 0)
                {
                }
                let _ = server.write_all(&answer).await;
            };
            let mut answered = Vec::new();
            let (_, ended) = tokio::join!(serve, within(client.read_to_end(&mut answered)));
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset, "{stage:?}");
            // The system throws away what it has not handed out when a reset comes.
            assert!(arrived.len() == at_server || stage == CallStage::AfterRequest, "{stage:?}: {}", arrived.len());
            assert!(answered.len() <= at_client, "{stage:?}: {}", answered.len());

            let mut next = TcpStream::connect(relay.address()).await.unwrap();
            let mut server = accept(&listener).await;
            next.write_all(&request).await.unwrap();
            assert_eq!(read(&mut server, request.len()).await, request, "only one call is reset");
        }
    }
}

#[tokio::test]
async fn client_gone_during_blackhole_sent_nothing() {
    let (arrived, mut arrivals) = mpsc::channel(9);
    let relay = Relay::start(reporting_server(arrived).await).unwrap();
    relay.cut(Cut::Blackhole).await;
    let mut gone = TcpStream::connect(relay.address()).await.unwrap();
    gone.write_all(b"a").await.unwrap();
    drop(gone);
    let_relays_work().await;
    assert_eq!(*relay.connections().borrow(), 1);
    relay.heal().await.unwrap();
    within(relay.connections().wait_for(|count| *count == 0)).await.unwrap();
    let_relays_work().await;
    arrivals.try_recv().unwrap_err();
}

#[tokio::test]
async fn reset_link_refuses_until_healed() {
    let relay = Relay::start(echo_server().await).unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    echo(&mut client, b"a").await;
    for _ in 0..2 {
        relay.cut(Cut::Reset).await;
        let refused = TcpStream::connect(relay.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_reset(&mut client).await;

        relay.heal().await.unwrap();
        client = TcpStream::connect(relay.address()).await.unwrap();
        echo(&mut client, b"b").await;
    }
}

#[tokio::test]
async fn connections_are_dropped_once() {
    let relay = Relay::start(echo_server().await).unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    echo(&mut client, b"a").await;
    relay.drop_connections().await;
    assert_reset(&mut client).await;
    assert_eq!(*relay.connections().borrow(), 0);
    echo(&mut TcpStream::connect(relay.address()).await.unwrap(), b"b").await;
}

#[tokio::test]
async fn one_direction_may_close_first() {
    let (listener, address) = listen().await;
    let relay = Relay::start(address).unwrap();
    relay.set_round_trip(Duration::from_millis(10));
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();

    let mut server = accept(&listener).await;
    let mut request = Vec::new();
    within(server.read_to_end(&mut request)).await.unwrap();
    assert_eq!(request, b"request");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    within(client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
    within(relay.connections().wait_for(|count| *count == 0)).await.unwrap();
}

#[tokio::test]
async fn reset_arrives_after_earlier_bytes() {
    let (listener, address) = listen().await;
    let relay = Relay::start(address).unwrap();
    relay.set_round_trip(Duration::from_millis(20));
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = accept(&listener).await;
    server.write_all(b"last words").await.unwrap();
    assert_eq!(read(&mut client, 10).await, b"last words");
    server.set_zero_linger().unwrap();
    drop(server);
    assert_reset(&mut client).await;
}

#[tokio::test]
async fn sender_learns_of_gone_receiver() {
    let (listener, address) = listen().await;
    let relay = Relay::start(address).unwrap();
    relay.set_round_trip(Duration::from_millis(10));
    let client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = accept(&listener).await;
    drop(client);
    let chunk = [0; 10_000];
    within(async { while server.write_all(&chunk).await.is_ok() {} }).await;
    within(relay.connections().wait_for(|count| *count == 0)).await.unwrap();
}

#[tokio::test]
async fn refusing_server_resets_client() {
    let refusing = Relay::start(echo_server().await).unwrap();
    refusing.cut(Cut::Reset).await;
    let relay = Relay::start(refusing.address()).unwrap();
    // Long enough for the client to connect before it is reset.
    relay.set_round_trip(Duration::from_millis(20));
    assert_reset(&mut TcpStream::connect(relay.address()).await.unwrap()).await;
}

#[tokio::test]
async fn first_accepting_target_is_used() {
    let (absent, nobody) = listen().await;
    drop(absent);
    let (listener, there) = listen().await;
    let (_other, unused) = listen().await;
    let targets = [nobody.to_string(), "no port".to_owned(), format!("localhost:{}", there.port()), unused.to_string()];
    let relay = Relay::listen("127.0.0.1:0".parse().unwrap(), targets.clone()).unwrap();
    assert_eq!(relay.targets(), targets);

    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = accept(&listener).await;
    server.write_all(b"here").await.unwrap();
    assert_eq!(read(&mut client, 4).await, b"here");
}

#[tokio::test]
async fn relay_listens_on_given_address() {
    let (_listener, target) = listen().await;
    let relay = Relay::listen("127.0.0.2:0".parse().unwrap(), [target.to_string()]).unwrap();
    assert_eq!(relay.address().ip().to_string(), "127.0.0.2");
    let taken = Relay::listen(target, ["127.0.0.1:1"]).unwrap_err();
    assert!(taken.to_string().contains(&target.to_string()), "{taken}");
    let nowhere = Relay::listen("127.0.0.1:0".parse().unwrap(), [""; 0]).unwrap_err();
    assert!(nowhere.to_string().contains("has no target"), "{nowhere}");
}

#[tokio::test]
async fn relay_ends_with_last_handle() {
    let relay = Relay::start(echo_server().await).unwrap();
    let address = relay.address();
    let clone = relay.clone();
    drop(relay);
    let mut client = TcpStream::connect(address).await.unwrap();
    echo(&mut client, b"a").await;
    drop(clone);
    assert_reset(&mut client).await;
    TcpStream::connect(address).await.unwrap_err();
}

#[test]
fn relay_outlives_its_first_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lasting = runtime();
    let server = lasting.block_on(echo_server());
    let relay = runtime().block_on(async { Relay::start(server).unwrap() });
    lasting.block_on(async {
        echo(&mut TcpStream::connect(relay.address()).await.unwrap(), b"a").await;
    });
}

/// All relays share one thread: when another one has carried this, every other has had its turn.
async fn let_relays_work() {
    let other = Relay::start(echo_server().await).unwrap();
    for _ in 0..20 {
        echo(&mut TcpStream::connect(other.address()).await.unwrap(), b"x").await;
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

async fn echo_server() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                // Ends with an error when the connection is reset, as some tests do.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// Reports each byte that arrives on any connection.
async fn reporting_server(arrived: mpsc::Sender<u8>) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let arrived = arrived.clone();
            tokio::spawn(async move {
                while let Ok(byte) = socket.read_u8().await {
                    arrived.send(byte).await.unwrap();
                }
            });
        }
    });
    address
}

async fn echo(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).await.unwrap();
    assert_eq!(read(client, bytes.len()).await, bytes);
}

async fn read(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within(client.read_exact(&mut bytes)).await.unwrap();
    bytes
}

async fn assert_reset(client: &mut TcpStream) {
    let error = within(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
