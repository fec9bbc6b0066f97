//! Several regions, their databases, and the network between them.

mod builder;
mod environment;
mod region;
mod start;

use std::{collections::BTreeMap, net::SocketAddr};

pub use self::builder::WorldBuilder;
use self::region::{Map, RegionName, WorldRegion};
use crate::error::Result;
use crate::network::dns::DnsView;
use crate::network::link::Link;
use crate::network::relay::{Cut, Relay};
use crate::node::NodeProcess;
use crate::postgres::Postgres;
use crate::process::scratch::Scratch;
use crate::wait::unblocked;

/// Several regions on one machine: a primary region and replica regions, and links with latency
/// between them. Each region has a PostgreSQL, a DNS view and a number of application nodes.
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
/// With a [`node_command`](WorldBuilder::node_command), each node is a process that is started with
/// the settings of [`node_environment`](Self::node_environment). Without one the world starts no
/// node, and a test may run nodes with these settings in its own process. In both cases the world
/// reserves a port for each node.
///
/// # Network
///
/// Everything listens on 127.0.0.1, each server on a port of its own. A node looks up its peers in
/// the [`dns`](Self::dns) of its region. The answer for its own region has the nodes' addresses;
/// the answer for another region has the addresses of relays, which stand for the link between the
/// two. A replica streams from the primary through the same link, and
/// [`direct_url`](Self::direct_url) connects through it to the primary's database. The round trip
/// between two replica regions is the sum of their round trips to the primary region, unless
/// [`between`](WorldBuilder::between) sets it.
///
/// The DNS of each region has these names, here for an application `shop` and a region `syd`. The
/// last two are Fly.io's names:
///
/// | name | type | |
/// |---|---|---|
/// | `_homing._tcp.syd.shop.internal` | SRV | the nodes of that region, with ports |
/// | `syd.shop.internal` | A | 127.0.0.1 |
/// | `regions.shop.internal` | TXT | `iad,ams,syd` |
///
/// Dropping the world ends everything and blocks until all of it is gone;
/// [`shutdown`](Self::shutdown) waits without blocking the runtime.
#[derive(Debug)]
pub struct World {
    app: String,
    secret: String,
    primary: RegionName,
    /// The primary region first, then the others in the order of the builder's calls.
    regions: Vec<WorldRegion>,
    links: Map<(RegionName, RegionName), Link>,
    /// The last field: its drop waits for all processes, which the fields above end.
    scratch: Scratch,
}

impl World {
    /// Returns a builder, which starts the world.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Returns the application's name, `HOMING_APP`.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Returns the secret that the nodes share, `HOMING_SECRET`.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the primary region's name.
    pub fn primary_region(&self) -> &str {
        &self.primary
    }

    /// Returns the names of all regions, the primary region first.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.iter().map(|region| region.name.as_str())
    }

    /// Returns the PostgreSQL of the primary region.
    pub fn primary(&self) -> &Postgres {
        &self.region(&self.primary).postgres
    }

    /// Returns the PostgreSQL of a region: its replica, or the primary if it is the primary region.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    pub fn replica(&self, region: &str) -> &Postgres {
        &self.region(region).postgres
    }

    /// Returns the URL of the primary's database as seen from a region, through the region's link.
    /// With it a program compares a direct connection with a forwarded write.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    pub fn direct_url(&self, region: &str) -> String {
        let address = self.region(region).direct.as_ref().map(Relay::address);
        let address = address.unwrap_or(self.primary().address());
        format!("postgres://postgres@{address}/postgres")
    }

    /// Returns the link between a region and the primary region.
    ///
    /// # Panics
    ///
    /// If the world does not have the region, or if it is the primary region.
    pub fn link(&self, region: &str) -> &Link {
        self.link_between(region, &self.primary)
    }

    /// Returns the link between two regions.
    ///
    /// # Panics
    ///
    /// If the world does not have both regions, or if they are the same one.
    pub fn link_between(&self, one: &str, other: &str) -> &Link {
        self.links
            .get(&region::pair(one, other))
            .unwrap_or_else(|| panic!("the world has no link between {one} and {other}"))
    }

    /// Cuts all links of a region.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the links may be cut.
    pub async fn isolate(&self, region: &str, cut: Cut) {
        for link in self.links_of(region) {
            link.cut(cut).await;
        }
    }

    /// Heals all links of a region.
    ///
    /// # Errors
    ///
    /// An I/O error if a relay cannot listen on its port again. No predicate holds for it.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the links may be healed.
    pub async fn rejoin(&self, region: &str) -> Result<()> {
        for link in self.links_of(region) {
            link.heal().await?;
        }
        Ok(())
    }

    /// Returns the DNS server that a region's nodes ask.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    pub fn dns(&self, region: &str) -> &DnsView {
        &self.region(region).dns
    }

    /// Returns the settings of a region's first node: [`node_environment`](Self::node_environment)
    /// of node 0.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    pub fn environment(&self, region: &str) -> BTreeMap<String, String> {
        self.node_environment(region, 0)
    }

    /// Returns all environment variables that a node of a region needs. Nodes are counted from 0.
    ///
    /// These are `HOMING_REGION`, `HOMING_PRIMARY_REGION`, `HOMING_APP`, `HOMING_LISTEN` (the
    /// address reserved for this node), `HOMING_SECRET`, `HOMING_PEER_DNS`, `HOMING_REGIONS`,
    /// `HOMING_DNS_SERVER`, and `DATABASE_URL` in the primary region or `HOMING_REPLICA_URL` in
    /// the others.
    ///
    /// # Panics
    ///
    /// If the world does not have the region, or the region does not have the node.
    pub fn node_environment(&self, region: &str, node: usize) -> BTreeMap<String, String> {
        let region = self.region(region);
        let regions: Vec<&str> = self.regions().collect();
        let database = match region.name == self.primary {
            true => "DATABASE_URL",
            false => "HOMING_REPLICA_URL",
        };
        let variables = [
            ("HOMING_REGION", region.name.clone()),
            ("HOMING_PRIMARY_REGION", self.primary.clone()),
            ("HOMING_APP", self.app.clone()),
            ("HOMING_LISTEN", region.address(node).to_string()),
            ("HOMING_SECRET", self.secret.clone()),
            ("HOMING_PEER_DNS", "srv:_homing._tcp.{region}.{app}.internal".to_owned()),
            ("HOMING_REGIONS", regions.join(",")),
            ("HOMING_DNS_SERVER", region.dns.address().to_string()),
            (database, region.postgres.url()),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the address that is reserved for a region's node, counted from 0. The node listens
    /// there, and the nodes of its own region connect to it.
    ///
    /// # Panics
    ///
    /// If the world does not have the region, or the region does not have the node.
    pub fn node_address(&self, region: &str, node: usize) -> SocketAddr {
        self.region(region).address(node)
    }

    /// Returns the addresses at which the nodes of `from` find the nodes of `to`, in the order of
    /// these nodes: their own addresses within a region, relays between two regions.
    ///
    /// # Panics
    ///
    /// If the world does not have both regions.
    pub fn peer_addresses(&self, from: &str, to: &str) -> Vec<SocketAddr> {
        let to = self.region(to);
        match self.region(from).peers.get(&to.name) {
            Some(relays) => relays.iter().map(Relay::address).collect(),
            None => to.addresses(),
        }
    }

    /// Returns the node processes of a region, in order. Empty in a world without a node command.
    ///
    /// # Panics
    ///
    /// If the world does not have the region.
    pub fn nodes(&self, region: &str) -> &[NodeProcess] {
        &self.region(region).nodes
    }

    /// Kills a region's node process, counted from 0, with SIGKILL and waits for its end. DNS still
    /// has the node's address, as it has for a while in production.
    /// [`NodeProcess::restart`] starts the node again.
    ///
    /// # Errors
    ///
    /// An I/O error if the process cannot be signalled. No predicate holds for it.
    ///
    /// # Panics
    ///
    /// If the world does not have the region, or the region does not have the process.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node still ends.
    pub async fn kill_node(&self, region: &str, node: usize) -> Result<()> {
        let nodes = self.nodes(region);
        let node = nodes.get(node).unwrap_or_else(|| panic!("{region} has no node process {node}"));
        node.kill().await
    }

    /// Returns the folder of the whole world.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Ends everything and waits until it is gone. Unlike a drop, this does not block the runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything still ends.
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
