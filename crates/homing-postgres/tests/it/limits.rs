//! The time that a read may take.

use std::sync::Arc;
use std::time::Duration;

use homing_postgres::{Config, Database, Options, Repo, Role};
use homing_rpc::{NodeConfig, Region, Rpc, StaticPeers, Topology};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A server that takes connections and never answers.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The clock is paused: it moves on to the next time limit whenever nothing else can happen.
#[tokio::test(start_paused = true)]
async fn one_limit_bounds_all_servers() {
    const LIMIT: Duration = Duration::from_secs(5);
    let (replica, peer) = (silent().await, silent().await);
    let url = format!("postgres://postgres@{}/postgres", replica.local_addr().unwrap());
    let database = Database::connect(Config::new(url, Role::Replica)).await.unwrap();
    let region = |name| Region::new(name).unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [peer.local_addr().unwrap()]);
    let rpc = Rpc::new(NodeConfig::new(Topology::new(region("syd"), region("iad"))), Arc::new(peers));
    let repo = Repo::new(rpc, database, Options::default().with_call_timeout(LIMIT));

    let started = Instant::now();
    assert!(repo.query("select 1", &[]).await.unwrap_err().is_not_sent());
    assert!(started.elapsed() <= LIMIT, "rows: {:?}", started.elapsed());
    let started = Instant::now();
    assert!(repo.stream("select 1", &[]).await.unwrap_err().is_not_sent());
    assert!(started.elapsed() <= LIMIT, "a stream: {:?}", started.elapsed());
}
