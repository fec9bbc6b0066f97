//! A server that goes away in order.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::FunctionError;
use homing_testbed::wait_until;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::world::{Relay, client, functions, offering, region, serve, soon};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn shutdown_finishes_calls_in_flight() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let mut registry = functions("iad");
    let wait = {
        let go_on = Arc::clone(&go_on);
        move |_, ()| {
            tell.send(()).unwrap();
            let go_on = Arc::clone(&go_on);
            async move {
                go_on.notified().await;
                Ok::<_, FunctionError>("done".to_owned())
            }
        }
    };
    registry.register_fn("wait", wait).unwrap();
    let leaving = offering("iad", registry).start().await.unwrap();
    let address = leaving.local_addr();
    let rpc = client(&[address]);
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.call_primary::<String>("wait", (), LIMIT).await }
    });
    soon("begun", told.recv()).await.unwrap();

    let shutdown = tokio::spawn(leaving.shutdown());
    let refused = async {
        loop {
            match rpc.call_primary::<i64>("add", (1, 2), LIMIT / 10).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    };
    let error = soon("refused", refused).await;
    assert!(error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("draining") || error.to_string().contains("shutting down"), "{error}");
    assert!(!call.is_finished());

    go_on.notify_one();
    assert_eq!(soon("done", call).await.unwrap().unwrap().value, "done");
    soon("shutdown", shutdown).await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn callers_do_not_notice_a_shutdown() {
    let (leaving, staying) = (serve("iad").await, serve("iad").await);
    let rpc = client(&[leaving.local_addr(), staying.local_addr()]);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..8)
        .map(|n: i64| {
            let (rpc, stopped) = (rpc.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !*stopped.borrow() {
                    assert_eq!(rpc.call_primary::<i64>("add", (n, 1), LIMIT).await.unwrap().value, n + 1);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for address in [leaving.local_addr(), staying.local_addr()] {
        wait_until("the node is up", async || rpc_peer(&client(&[address])).await == address).await;
    }
    soon("shutdown", leaving.shutdown()).await;
    stop.send_replace(true);
    for caller in callers {
        assert!(soon("caller", caller).await.unwrap() > 0);
    }
}

async fn rpc_peer(rpc: &homing_rpc::Rpc) -> std::net::SocketAddr {
    rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().peer.unwrap().address
}

#[tokio::test]
async fn endless_call_ends_with_drain_timeout() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut registry = functions("iad");
    let hang = move |_, ()| {
        tell.send(()).unwrap();
        std::future::pending::<Result<(), FunctionError>>()
    };
    registry.register_fn("hang", hang).unwrap();
    let iad = offering("iad", registry).drain_timeout(Duration::from_millis(50)).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let call = tokio::spawn(async move { rpc.call_primary::<()>("hang", (), LIMIT).await });
    soon("begun", told.recv()).await.unwrap();
    soon("shutdown", iad.shutdown()).await;
    let error = soon("call", call).await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn idle_connections_do_not_delay_shutdown() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    rpc.describe(&region("iad"), LIMIT).await.unwrap();
    let began = Instant::now();
    iad.shutdown().await;
    // It would wait so long for connections that do not end by themselves.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn dropped_it_stops_at_once() {
    let iad = serve("iad").await;
    let relay = Relay::to(iad.local_addr()).await;
    let rpc = client(&[relay.address]);
    rpc.describe(&region("iad"), LIMIT).await.unwrap();
    let address = iad.local_addr();
    drop(iad);
    relay.connections(0).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
