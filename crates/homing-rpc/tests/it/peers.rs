//! The peers of a region as an application sees them, and calls of one of them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::{FunctionError, PeerHealth, PeerSettings, Registry, Rpc, StaticPeers};
use tokio::sync::Notify;

use crate::world::{Addresses, client, client_with, config, offering, region, serve, soon};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn peers_are_listed_with_their_health() {
    let iad = serve("iad").await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rpc = client(&[iad.local_addr(), closed]);
    rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap();
    let health_of = async |address| {
        let peers = rpc.peers(&region("iad"), LIMIT).await.unwrap();
        assert_eq!(peers.len(), 2);
        peers.into_iter().find(|peer| peer.name.address == address).unwrap()
    };
    let up = health_of(iad.local_addr()).await;
    assert_eq!((up.health, up.in_flight), (PeerHealth::Up, 0));
    assert!(up.round_trip.is_some());
    let down = async {
        loop {
            if let PeerHealth::Down(reason) = health_of(closed).await.health {
                return reason;
            }
            tokio::task::yield_now().await;
        }
    };
    assert!(soon("failure", down).await.contains("refused"));
}

#[tokio::test]
async fn one_peer_is_called_and_no_other() {
    let (one, two) = (serve("iad").await, serve("iad").await);
    let rpc = client(&[one.local_addr(), two.local_addr()]);
    for peer in rpc.peers(&region("iad"), LIMIT).await.unwrap() {
        for _ in 0..20 {
            let called = rpc.call_peer::<i64>(&peer.name, "add", (1, 2), LIMIT).await.unwrap();
            assert_eq!((called.value, called.peer.as_ref()), (3, Some(&peer.name)));
        }
    }
    let peers = rpc.peers(&region("iad"), LIMIT).await.unwrap();
    let name = peers.iter().find(|peer| peer.name.address == one.local_addr()).unwrap().name.clone();
    one.shutdown().await;
    let error = rpc.call_peer::<i64>(&name, "add", (1, 2), Duration::from_secs(1)).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains(&name.address.to_string()), "{error}");
    rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap();
}

#[tokio::test]
async fn peer_that_is_gone_is_not_called() {
    let (iad, addresses) = (serve("iad").await, Addresses::new());
    addresses.set("iad", Some(vec![iad.local_addr()]));
    let rpc = client_with(addresses.clone());
    let name = rpc.peers(&region("iad"), LIMIT).await.unwrap().remove(0).name;
    let other = serve("iad").await;
    addresses.set("iad", Some(vec![other.local_addr()]));
    addresses.asked(2).await;
    let error = rpc.call_peer::<i64>(&name, "add", (1, 2), LIMIT).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains(&other.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn settings_limit_the_calls_that_wait() {
    let (mut registry, held) = (Registry::new(), Arc::new(Notify::new()));
    let begun = Arc::clone(&held);
    let hold = move |_, ()| {
        begun.notify_one();
        pending::<Result<(), FunctionError>>()
    };
    registry.register_fn("hold", hold).unwrap();
    let iad = offering("iad", registry).max_in_flight(1).start().await.unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let settings = PeerSettings::default().with_max_waiting(0);
    let rpc = Rpc::new(config("syd").with_peers(settings), Arc::new(peers));
    let hour = Duration::from_secs(3600);
    let holding = rpc.clone();
    let task = tokio::spawn(async move { holding.call_primary::<()>("hold", (), hour).await });
    held.notified().await;
    let error = soon("refusal", rpc.call_primary::<()>("hold", (), hour)).await.unwrap_err();
    assert!(error.is_overloaded() && error.is_not_sent(), "{error}");
    task.abort();
}

#[tokio::test]
async fn regions_without_peers_say_why() {
    let rpc = client_with(StaticPeers::none());
    assert_eq!(rpc.peers(&region("iad"), LIMIT).await.unwrap(), []);
    let addresses = Addresses::new();
    addresses.set("iad", None);
    let error = client_with(addresses).peers(&region("iad"), LIMIT).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("not a region name"), "{error}");
}
