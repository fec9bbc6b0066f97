//! Wrong settings are logged on the node that has them, and on the nodes that refuse it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::{DnsConfig, DnsTemplate, NodeConfig, Rpc, Secret, StaticPeers, Topology};

use crate::dns::DnsServer;
use crate::lines::Lines;
use crate::world::{client, client_with, region, serve, topology};

const LIMIT: Duration = Duration::from_secs(10);

fn with_wrong_secret(address: SocketAddr) -> Rpc {
    let wrong = Secret::new("another-secret-that-is-long-enough-too").unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [address]);
    Rpc::new(NodeConfig::new(topology("syd")).with_secret(wrong), Arc::new(peers))
}

#[tokio::test]
async fn wrong_secret_is_logged_on_both_nodes() {
    let lines = Lines::collect();
    let iad = serve("iad").await;
    let address = iad.local_addr();
    let rpcs = [with_wrong_secret(address), with_wrong_secret(address)];
    for rpc in &rpcs {
        rpc.connect(&region("iad")).unwrap();
        rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
    }
    lines.wait_for(&["WARN", "peer refuses this node", &address.to_string(), "HOMING_SECRET"]).await;
    let refusal = ["WARN", "refused a caller", "address=127.0.0.1:", "HOMING_SECRET"];
    lines.wait_for(&refusal).await;
    assert_eq!(lines.count(&refusal), 1, "one line a minute for one address");
}

#[tokio::test]
async fn wrong_dns_template_is_logged_with_its_name() {
    let (lines, server) = (Lines::collect(), DnsServer::start().await);
    let dns = DnsConfig::default().with_server(server.address());
    for (template, place) in [
        ("{region}.{app}.example", "AAAA and A records of iad.shop.example"),
        ("srv:_homing._tcp.{region}.example", "SRV records of _homing._tcp.iad.example"),
    ] {
        let rpc = client_with(DnsTemplate::new(template, Some("shop"), [region("iad")], 4750, &dns).unwrap());
        rpc.connect(&region("iad")).unwrap();
        lines.wait_for(&["WARN", "region=iad", place]).await;
        let error = rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
        assert!(error.is_not_sent() && error.to_string().contains(place), "{error}");
    }
}

#[tokio::test]
async fn wrong_primary_region_is_logged_with_the_known_ones() {
    let lines = Lines::collect();
    let address = "127.0.0.1:1".parse().unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [address]).with_region(region("syd"), [address]);
    let rpc = Rpc::new(NodeConfig::new(Topology::new(region("syd"), region("fra"))), Arc::new(peers));
    rpc.connect(&region("fra")).unwrap();
    lines.wait_for(&["WARN", "region=fra", "the regions iad, syd"]).await;
    let error = rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("the regions iad, syd"), "{error}");
}

#[tokio::test]
async fn region_without_a_peer_is_logged_once() {
    let lines = Lines::collect();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rpc = client(&[address]);
    let line = ["WARN", "no peer of the region takes calls", &address.to_string(), "refused"];
    for _ in 0..3 {
        rpc.call_primary::<i64>("add", (1, 2), Duration::from_millis(300)).await.unwrap_err();
    }
    lines.wait_for(&line).await;
    assert_eq!(lines.count(&line), 1);
}
