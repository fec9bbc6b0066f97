//! Replicas are probed after reads, and at no other time.

use std::sync::Arc;
use std::time::Duration;

use homing_postgres::{Options, ReplicaList, ReplicaSettings, Replicas, Repo};
use homing_rpc::{NodeConfig, Region, Rpc, StaticPeers, Topology};
use homing_testbed::wait_until;

use crate::tracker::pair::Pair;

#[tokio::test]
async fn one_read_takes_one_probe() {
    let pair = Pair::start().await;
    let list = ReplicaList::parse(&pair.replica.url(), "V").unwrap();
    let interval = Duration::from_millis(10);
    let replicas =
        Replicas::start(None, &list, ReplicaSettings::default().with_probe_interval(interval)).await.unwrap();
    let topology = Topology::new(Region::new("syd").unwrap(), Region::new("iad").unwrap());
    let repo =
        Repo::new(Rpc::new(NodeConfig::new(topology), Arc::new(StaticPeers::none())), replicas, Options::default());
    let probes = || pair.replica.log().contents().unwrap().matches("from unnest($1::xid8[])").count();
    let client = pair.replica.connect().await.unwrap();
    assert_eq!(probes(), 0);
    for read in 1..=3 {
        repo.query("select 1", &[]).await.unwrap();
        wait_until("the replica is probed", async || probes() == read).await;
        client.batch_execute("select pg_sleep(1.5)").await.unwrap();
        assert_eq!(probes(), read);
    }
}
