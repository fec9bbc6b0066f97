//! Several regions, their databases, and the network between them.

mod builder;
mod environment;
mod region;
mod start;

use std::{collections::BTreeMap, net::SocketAddr};

pub use self::builder::WorldBuilder;
use self::region::{Map, RegionName, WorldRegion};
use crate::{
    error::Result,
    network::{
        dns::DnsView,
        link::Link,
        relay::{Cut, Relay},
    },
    node::NodeProcess,
    postgres::Postgres,
    process::scratch::Scratch,
    wait::unblocked,
};

/// A whole world on one machine: a primary region and replica regions, each with a PostgreSQL of
/// its own, a DNS view and a number of application nodes, and links with latency between them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use homing_testbed::{NodeCommand, World};
///
/// let world = World::builder()
///     .primary("iad")
///     .region("ams", Duration::from_millis(90))
///     .region("syd", Duration::from_millis(200))
///     .nodes("iad", 2)
///     .schema("create table users (id bigserial primary key, name text)")
///     .node_command(NodeCommand::new("target/debug/examples/shop"))
///     .start()
///     .await?;
/// world.replica("syd").pause_replay().await?;
/// world.kill_node("iad", 0).await?;
/// world.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// # Nodes
///
/// Nodes are processes started with the settings that [`environment`](Self::environment) shows,
/// or whatever a test makes of those settings inside its own process: without a
/// [`node_command`](WorldBuilder::node_command) no process is started. Each node has a port that
/// is kept for it either way.
///
/// # Network
///
/// Everything is on 127.0.0.1, told apart by ports. A node finds the nodes of its own region at
/// their own addresses, and those of another region at relays that stand for the link between the
/// two; its region's [`dns`](Self::dns) tells it so. A replica streams from the primary through
/// the same link, and [`direct_url`](Self::direct_url) leads through it straight to the primary's
/// database. Links between two replica regions are as long as both of theirs to the primary
/// together, unless [`between`](WorldBuilder::between) says otherwise.
///
/// Names, for an application `shop` and a region `syd`, as on Fly.io where it has them:
///
/// | name | type | |
/// |---|---|---|
/// | `_homing._tcp.syd.shop.internal` | SRV | the nodes of that region, with ports |
/// | `syd.shop.internal` | A | 127.0.0.1 |
/// | `regions.shop.internal` | TXT | `iad,ams,syd` |
///
/// Dropping the world ends everything and blocks until it is gone;
/// [`shutdown`](Self::shutdown) does so without blocking.
#[derive(Debug)]
pub struct World {
    app: String,
    secret: String,
    primary: RegionName,
    /// In the order they were given, the primary region first.
    regions: Vec<WorldRegion>,
    links: Map<(RegionName, RegionName), Link>,
    /// Last, so that everything is told to end before this waits for it.
    scratch: Scratch,
}

impl World {
    /// Describes a world to start.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// The application's name, `HOMING_APP`.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The secret that the nodes share.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The primary region's name.
    pub fn primary_region(&self) -> &str {
        &self.primary
    }

    /// The names of all regions, the primary one first.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.iter().map(|region| region.name.as_str())
    }

    /// The primary's PostgreSQL.
    pub fn primary(&self) -> &Postgres {
        &self.region(&self.primary).postgres
    }

    /// The PostgreSQL of a region: a replica, or in the primary region the primary itself.
    ///
    /// # Panics
    ///
    /// If there is no such region.
    pub fn replica(&self, region: &str) -> &Postgres {
        &self.region(region).postgres
    }

    /// The URL of the primary's database as seen from a region: through the region's link, for
    /// comparing a direct connection with a forwarded write.
    ///
    /// # Panics
    ///
    /// If there is no such region.
    pub fn direct_url(&self, region: &str) -> String {
        let address = self.region(region).direct.as_ref().map(Relay::address);
        let address = address.unwrap_or(self.primary().address());
        format!("postgres://postgres@{address}/postgres")
    }

    /// The link between a region and the primary region.
    ///
    /// # Panics
    ///
    /// If there is no such region, or it is the primary one.
    pub fn link(&self, region: &str) -> &Link {
        self.link_between(region, &self.primary)
    }

    /// The link between two regions.
    ///
    /// # Panics
    ///
    /// If there are no such two regions.
    pub fn link_between(&self, one: &str, other: &str) -> &Link {
        self.links
            .get(&region::pair(one, other))
            .unwrap_or_else(|| panic!("the world has no link between {one} and {other}"))
    }

    /// Cuts a region off from all others.
    ///
    /// # Panics
    ///
    /// If there is no such region.
    ///
    /// # Cancel safety
    ///
    /// Any part of it may be cut off when the future is dropped.
    pub async fn isolate(&self, region: &str, cut: Cut) {
        for link in self.links_of(region) {
            link.cut(cut).await;
        }
    }

    /// Heals all links of a region.
    ///
    /// # Errors
    ///
    /// As [`Relay::heal`].
    ///
    /// # Panics
    ///
    /// If there is no such region.
    ///
    /// # Cancel safety
    ///
    /// Any part of it may be healed when the future is dropped.
    pub async fn rejoin(&self, region: &str) -> Result<()> {
        for link in self.links_of(region) {
            link.heal().await?;
        }
        Ok(())
    }

    /// The DNS server that a region's nodes ask.
    ///
    /// # Panics
    ///
    /// If there is no such region.
    pub fn dns(&self, region: &str) -> &DnsView {
        &self.region(region).dns
    }

    /// The settings of a region's first node: see
    /// [`node_environment`](Self::node_environment).
    ///
    /// # Panics
    ///
    /// If there is no such region.
    pub fn environment(&self, region: &str) -> BTreeMap<String, String> {
        self.node_environment(region, 0)
    }

    /// The environment variables that tell a region's node, counted from 0, all it needs:
    /// `HOMING_REGION`, `HOMING_PRIMARY_REGION`, `HOMING_APP`, `HOMING_LISTEN` (an address that is
    /// kept for this node), `HOMING_SECRET`, `HOMING_PEER_DNS`, `HOMING_REGIONS`,
    /// `HOMING_DNS_SERVER`, and `DATABASE_URL` in the primary region, `HOMING_REPLICA_URL` in the
    /// others.
    ///
    /// # Panics
    ///
    /// If there is no such region or it has no such node.
    pub fn node_environment(&self, region: &str, node: usize) -> BTreeMap<String, String> {
        environment::of_node(self, self.region(region), node)
    }

    /// The address kept for a region's node, counted from 0: where it listens, and its own region
    /// finds it.
    ///
    /// # Panics
    ///
    /// If there is no such region or it has no such node.
    pub fn node_address(&self, region: &str, node: usize) -> SocketAddr {
        self.region(region).address(node)
    }

    /// Where the nodes of `from` find those of `to`: their own addresses within a region, relays
    /// between two. In the order of the nodes.
    ///
    /// # Panics
    ///
    /// If there are no such regions.
    pub fn peer_addresses(&self, from: &str, to: &str) -> Vec<SocketAddr> {
        let to = self.region(to);
        match self.region(from).peers.get(&to.name) {
            Some(relays) => relays.iter().map(Relay::address).collect(),
            None => to.addresses(),
        }
    }

    /// The node processes of a region, in order; none in a world without a node command.
    ///
    /// # Panics
    ///
    /// If there is no such region.
    pub fn nodes(&self, region: &str) -> &[NodeProcess] {
        &self.region(region).nodes
    }

    /// Kills a region's node process, counted from 0 (SIGKILL), and waits for its end. DNS goes on
    /// naming it, as it does for a while in real life. [`NodeProcess::restart`] brings it back.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    ///
    /// # Panics
    ///
    /// If there is no such region or it has no such process.
    ///
    /// # Cancel safety
    ///
    /// As [`NodeProcess::kill`].
    pub async fn kill_node(&self, region: &str, node: usize) -> Result<()> {
        let nodes = self.nodes(region);
        let node = nodes.get(node).unwrap_or_else(|| panic!("{region} has no node process {node}"));
        node.kill().await
    }

    /// The folder that everything is in.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Ends everything and waits until it is gone, without blocking the runtime as a drop does.
    ///
    /// # Cancel safety
    ///
    /// Everything goes on ending when the future is dropped.
    pub async fn shutdown(self) {
        unblocked(move || drop(self)).await;
    }

    fn region(&self, name: &str) -> &WorldRegion {
        let found = self.regions.iter().find(|region| region.name == name);
        found.unwrap_or_else(|| panic!("the world has no region {name}"))
    }

    fn links_of(&self, region: &str) -> impl Iterator<Item = &Link> {
        let name = &self.region(region).name;
        let touches = move |(one, other): &(RegionName, RegionName)| one == name || other == name;
        self.links.iter().filter(move |(pair, _)| touches(pair)).map(|(_, link)| link)
    }
}
