//! The checks of requests and messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_proto::v1::rpc_server::{self, RpcServer};
use homing_proto::v1::{CallOnceRequest, CallRequest, CallResponse, DescribeRequest, DescribeResponse};
use homing_rpc::{NodeConfig, Reason, Refusal, Rpc, Secret, Server, ServerHandle, StaticPeers};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::lines::Lines;
use crate::world::{
    ANY_PORT, SOON, client, config, config_of, refused, region, serve, server, server_of, soon, topology,
};

const LIMIT: Duration = Duration::from_secs(10);
const CALL: &str = "/homing.v1.Rpc/Call";

/// Returns the answer of a server to a request of HTTP/2 with these headers.
async fn ask(server: &ServerHandle, path: &str, headers: &[(&str, &str)]) -> hyper::Result<Status> {
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut requests, connection) = handshake.await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{}{path}", server.local_addr()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    let response = soon("response", requests.send_request(request)).await;
    let ended = soon("end", async {
        match &response {
            Ok(_) => {
                connection.abort();
                Ok(())
            }
            Err(_) => connection.await.unwrap(),
        }
    });
    ended.await?;
    let response = response?;
    Ok(Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok("it was let in")))
}

/// A server without a secret, which serves any client of HTTP/2.
async fn open_server() -> ServerHandle {
    server_of(NodeConfig::new(topology("iad"))).start().await.unwrap()
}

#[tokio::test]
async fn http2_without_proof_is_sent_away() {
    let (lines, iad) = (Lines::collect(), serve("iad").await);
    let paths = [CALL, "/homing.v1.Rpc/Describe", "/grpc.health.v1.Health/Check", "/example.Other/Method"];
    let headers = [("authorization", "Bearer a-secret-that-is-long-enough-for-tests")];
    for path in paths {
        for headers in [&[][..], &headers] {
            let error = ask(&iad, path, headers).await.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap();
            let cause = cause.downcast_ref::<h2::Error>().unwrap();
            assert_eq!(cause.reason(), Some(h2::Reason::INADEQUATE_SECURITY), "{error:?}");
            assert!(cause.to_string().contains("HOMING_SECRET"), "{cause}");
        }
    }
    assert_eq!(refused(&iad), [(Refusal::NoHandshake, 8)]);
    let line = ["WARN", "refused a caller", "no_handshake", "address=127.0.0.1:", "HOMING_SECRET"];
    lines.wait_for(&line).await;
    assert_eq!(lines.count(&line), 1, "one line a minute for one address");
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let iad = open_server().await;
    assert_eq!(ask(&iad, "/grpc.health.v1.Health/Check", &[]).await.unwrap().code(), tonic::Code::Ok);
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(ask(&iad, reflection, &[]).await.unwrap().code(), tonic::Code::Ok);
    assert_eq!(ask(&iad, "/example.Other/Method", &[]).await.unwrap().code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn another_protocol_is_turned_away() {
    let iad = open_server().await;
    for protocol in ["1", "3", "x"] {
        let status = ask(&iad, CALL, &[("homing-region", "syd"), ("homing-protocol", protocol)]).await.unwrap();
        assert_eq!(Reason::of(&status), Some(Reason::ProtocolVersion), "{status:?}");
    }
    let status = ask(&iad, CALL, &[("homing-region", "syd"), ("homing-protocol", "2")]).await.unwrap();
    assert_eq!(Reason::of(&status), Some(Reason::UnknownFunction), "{status:?}");
    assert_eq!(refused(&iad), [(Refusal::Protocol, 3)]);
}

#[tokio::test]
async fn another_application_is_turned_away() {
    let lines = Lines::collect();
    let config = NodeConfig::new(topology("iad").with_app("shop"));
    let iad = server_of(config).start().await.unwrap();
    let ask = async |app: &[(&str, &str)]| {
        let headers = [&[("homing-region", "syd"), ("homing-protocol", "2")], app].concat();
        Reason::of(&ask(&iad, CALL, &headers).await.unwrap())
    };
    assert_eq!(ask(&[("homing-app", "shop-staging")]).await, Some(Reason::OtherApplication));
    for app in [&[][..], &[("homing-app", "shop")]] {
        assert_eq!(ask(app).await, Some(Reason::UnknownFunction), "it was let in");
    }
    assert_eq!(refused(&iad), [(Refusal::Application, 1)]);
    lines.wait_for(&["WARN", "refused a caller", "application", "shop-staging", "HOMING_APP"]).await;
}

#[tokio::test]
async fn wrong_application_fails_at_once() {
    let node = |name, app: Option<&str>| {
        let topology = topology(name);
        config_of(app.map_or(topology.clone(), |app| topology.with_app(app)))
    };
    let iad = server_of(node("iad", Some("shop"))).start().await.unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let call = async |app| {
        let rpc = Rpc::new(node("syd", app), Arc::new(peers.clone()));
        rpc.call_primary::<i64>("add", (1, 2), LIMIT).await
    };
    for app in [None, Some("shop")] {
        assert_eq!(call(app).await.unwrap().value, 3, "{app:?}");
    }
    let began = Instant::now();
    let error = call(Some("shop-staging")).await.unwrap_err();
    assert!(error.is_not_sent() && error.reason() == Some(Reason::OtherApplication), "{error:?}");
    let message = error.to_string();
    assert!(["\"shop\"", "\"shop-staging\"", "HOMING_APP"].iter().all(|part| message.contains(part)), "{message}");
    assert!(began.elapsed() < LIMIT, "it did not wait for another answer");
}

#[tokio::test]
async fn wrong_secret_fails_at_once() {
    let iad = serve("iad").await;
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let node = || NodeConfig::new(topology("syd"));
    let wrong = Secret::new("another-secret-that-is-long-enough-too").unwrap();
    for config in [node(), node().with_secret(wrong)] {
        let rpc = Rpc::new(config, Arc::new(peers.clone()));
        for _ in 0..2 {
            let began = Instant::now();
            let error = rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
            assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
            assert!(error.to_string().contains(&iad.local_addr().to_string()), "{error}");
            assert!(error.to_string().contains("HOMING_SECRET"), "{error}");
            assert!(began.elapsed() < Duration::from_secs(2));
        }
    }
    assert_eq!(refused(&iad), [(Refusal::NoHandshake, 1), (Refusal::UnknownSecret, 1)]);
}

#[tokio::test]
async fn server_without_secret_is_not_called() {
    let iad = open_server().await;
    let rpc = client(&[iad.local_addr()]);
    let error = rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
    assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("HOMING_SECRET") && error.to_string().contains("older build"), "{error}");
}

#[tokio::test]
async fn without_secret_only_loopback_is_served() {
    let node = || NodeConfig::new(topology("iad"));
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Server::builder(node()).listen(listen.parse().unwrap()).start().await.unwrap_err();
        assert!(error.is_misuse(), "{error:?}");
        assert!(error.to_string().contains("HOMING_SECRET") && error.to_string().contains("127.0.0.1"), "{error}");
    }
    server_of(node()).start().await.unwrap();
    Server::builder(config("iad")).listen("0.0.0.0:0".parse().unwrap()).start().await.unwrap();
}

#[tokio::test]
async fn taken_address_is_named() {
    let iad = serve("iad").await;
    let error = server("iad").listen(iad.local_addr()).start().await.unwrap_err();
    assert!(error.is_misuse() && error.to_string().contains(&iad.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn both_sides_limit_messages() {
    let iad = server_of(config("iad").with_max_message_bytes(1000)).start().await.unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let text = "x".repeat(5000);
    for limit in [1000, 10_000] {
        let rpc = Rpc::new(config("syd").with_max_message_bytes(limit), Arc::new(peers.clone()));
        let error = soon("error", rpc.call_primary::<String>("echo", &text, LIMIT)).await.unwrap_err();
        assert!(error.is_too_large() && error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains("1000"), "{error}");
        rpc.call_primary::<String>("echo", &"short", LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn too_large_result_counts_as_executed() {
    let iad = server_of(config("iad").with_max_message_bytes(10_000)).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let error = rpc.call_primary::<String>("long", &10_000, LIMIT).await.unwrap_err();
    assert!(error.is_executed() && !error.is_function_failed(), "{error:?}");
    assert!(error.to_string().contains("was executed"), "{error}");
    rpc.call_primary::<String>("long", &9_900, LIMIT).await.unwrap();
}

#[tokio::test]
async fn huge_message_is_refused_unread() {
    let iad = serve("iad").await;
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let rpc = Rpc::new(config("syd").with_max_message_bytes(usize::MAX), Arc::new(peers));
    let text = "x".repeat(40 * 1024 * 1024);
    let error = soon("error", rpc.call_primary::<String>("echo", &text, SOON)).await.unwrap_err();
    assert!(error.is_too_large() && error.is_not_sent(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_closed() {
    let iad = serve("iad").await;
    let mut stream = TcpStream::connect(iad.local_addr()).await.unwrap();
    let began = Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(refused(&iad), [(Refusal::Silent, 1)]);
}

/// A node that describes itself as it likes.
struct Stranger(DescribeResponse);

#[tonic::async_trait]
impl rpc_server::Rpc for Stranger {
    async fn call(&self, _: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        panic!("it must not be called");
    }

    async fn call_once(&self, _: Request<CallOnceRequest>) -> Result<Response<CallResponse>, Status> {
        panic!("it must not be called");
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
}

async fn stranger(described: DescribeResponse) -> (SocketAddr, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let (_, health) = tonic_health::server::health_reporter();
    let router =
        tonic::transport::Server::builder().add_service(RpcServer::new(Stranger(described))).add_service(health);
    (address, tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() }))
}

#[tokio::test]
async fn foreign_peer_is_not_called() {
    let iad = |protocol_version, region: &str| DescribeResponse {
        protocol_version,
        region: region.into(),
        primary_region: "iad".into(),
        ..DescribeResponse::default()
    };
    let client = |address| {
        let peers = StaticPeers::none().with_region(region("iad"), [address]);
        Rpc::new(NodeConfig::new(topology("syd")), Arc::new(peers))
    };
    let (newer, one) = stranger(iad(3, "iad")).await;
    let error = client(newer).call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
    assert!(error.is_protocol_mismatch() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains(&newer.to_string()), "{error}");
    let (elsewhere, two) = stranger(iad(2, "ams")).await;
    let error = client(elsewhere).call_primary::<i64>("add", (1, 2), LIMIT / 10).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("region ams"), "{error:?}");
    one.abort();
    two.abort();
}
