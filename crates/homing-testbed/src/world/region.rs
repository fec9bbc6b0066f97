//! One region of a world.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::network::dns::DnsView;
use crate::network::port::Port;
use crate::network::relay::Relay;
use crate::node::NodeProcess;
use crate::postgres::Postgres;

pub(super) type RegionName = String;

pub(super) type Map<K, V> = BTreeMap<K, V>;

#[derive(Debug)]
pub(super) struct WorldRegion {
    pub(super) name: RegionName,
    pub(super) dns: DnsView,
    /// One for each node, even if the world does not start the node.
    pub(super) ports: Vec<Port>,
    /// For each other region, the relays to its nodes.
    pub(super) peers: Map<RegionName, Vec<Relay>>,
    /// To the primary's database; `None` in the primary region.
    pub(super) direct: Option<Relay>,
    pub(super) postgres: Postgres,
    pub(super) nodes: Vec<NodeProcess>,
}

impl WorldRegion {
    pub(super) fn address(&self, node: usize) -> SocketAddr {
        let port = self.ports.get(node);
        port.unwrap_or_else(|| panic!("region {} has no node {node}", self.name)).address()
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(Port::address).collect()
    }
}

/// The key of a link, which has no direction.
pub(super) fn pair(one: &str, other: &str) -> (RegionName, RegionName) {
    let (one, other) = (one.min(other), one.max(other));
    (one.to_owned(), other.to_owned())
}
