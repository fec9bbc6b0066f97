//! Starts a world: databases, links, names, nodes, in this order.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::try_join_all;

use super::builder::WorldBuilder;
use super::region::{Map, RegionName, WorldRegion, pair};
use super::{World, environment};
use crate::error::Result;
use crate::network::dns::DnsView;
use crate::network::link::{Link, Traffic};
use crate::network::port::Port;
use crate::network::relay::Relay;
use crate::node::{NodeCommand, NodeProcess};
use crate::postgres::Postgres;
use crate::process::scratch::Scratch;

impl WorldBuilder {
    /// Starts the world and waits until all of it is up.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](crate::Error::is_misuse) if a region or the application cannot have its name,
    ///   if a region is there twice or not at all, or if PostgreSQL's options are wrong.
    /// - [`is_postgres_missing`](crate::Error::is_postgres_missing) if PostgreSQL is not installed.
    /// - [`is_exited`](crate::Error::is_exited), with the end of its log, if a server or a node ends
    ///   before it is ready.
    /// - [`is_timed_out`](crate::Error::is_timed_out) if a server or a node is not ready in time.
    /// - With [`db`](crate::Error::db), if PostgreSQL rejects the schema.
    /// - An I/O error, for which no predicate holds, if the system refuses a port, a file or a
    ///   process.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything that was started ends.
    pub async fn start(self) -> Result<World> {
        self.check()?;
        let scratch = Scratch::given_or_new(self.scratch.clone()).await?;
        let mut links = Links::new(&self);
        let primary = start_primary(&self, &scratch).await?;
        let replicas = start_replicas(&self, &scratch, &primary, &mut links).await?;
        let mut regions = Vec::new();
        for ((name, _), postgres) in self.regions().zip([primary].into_iter().chain(replicas)) {
            regions.push(region(name, self.node_count(name), postgres)?);
        }
        connect(&mut regions, &mut links)?;
        name(&self.app, &regions)?;

        let mut world =
            World { app: self.app, secret: secret(), primary: self.primary, regions, links: links.links, scratch };
        if let Some(command) = self.command {
            start_nodes(&mut world, &command).await?;
        }
        Ok(world)
    }
}

async fn start_primary(builder: &WorldBuilder, scratch: &Scratch) -> Result<Postgres> {
    let options = builder.postgres.clone().with_name(&builder.primary).with_scratch(scratch);
    let primary = options.start().await?;
    primary.run("create the schema", &builder.schema).await?;
    Ok(primary)
}

async fn start_replicas(
    builder: &WorldBuilder,
    scratch: &Scratch,
    primary: &Postgres,
    links: &mut Links,
) -> Result<Vec<Postgres>> {
    let mut starts = Vec::new();
    for (name, _) in &builder.replicas {
        let relay = links.relay((name, &builder.primary), Traffic::Replication, primary.address())?;
        let options = Postgres::options().with_name(name).with_scratch(scratch);
        starts.push(options.with_upstream(relay.address()).start_replica_of(primary));
    }
    try_join_all(starts).await
}

/// Creates a region without links.
fn region(name: &RegionName, nodes: usize, postgres: Postgres) -> Result<WorldRegion> {
    let ports = (0..nodes).map(|_| Port::reserve());
    Ok(WorldRegion {
        name: name.clone(),
        dns: DnsView::start()?,
        ports: ports.collect::<Result<_>>()?,
        peers: Map::new(),
        direct: None,
        postgres,
        nodes: Vec::new(),
    })
}

/// Links each region to the nodes of all other regions, and to the primary's database.
fn connect(regions: &mut [WorldRegion], links: &mut Links) -> Result<()> {
    let database = regions[0].postgres.address();
    let primary = regions[0].name.clone();
    let nodes: Vec<_> = regions.iter().map(|region| (region.name.clone(), region.addresses())).collect();
    for here in regions {
        for (there, addresses) in nodes.iter().filter(|(there, _)| *there != here.name) {
            let relay = |address| links.relay((&here.name, there), Traffic::Grpc, address);
            let relays = addresses.iter().copied().map(relay).collect::<Result<_>>()?;
            here.peers.insert(there.clone(), relays);
        }
        if here.name != primary {
            here.direct = Some(links.relay((&here.name, &primary), Traffic::Direct, database)?);
        }
    }
    Ok(())
}

/// Writes the names of all nodes into each region's DNS view, with the addresses seen from there.
fn name(app: &str, regions: &[WorldRegion]) -> Result<()> {
    let names: Vec<&str> = regions.iter().map(|region| region.name.as_str()).collect();
    for here in regions {
        here.dns.set_texts(&format!("regions.{app}.internal"), [names.join(",")])?;
        for there in regions {
            let domain = format!("{}.{app}.internal", there.name);
            let ports: Vec<u16> = match here.peers.get(&there.name) {
                Some(relays) => relays.iter().map(|relay| relay.address().port()).collect(),
                None => there.ports.iter().map(Port::number).collect(),
            };
            let services = ports.into_iter().map(|port| (&domain, port));
            here.dns.set_services(&format!("_homing._tcp.{domain}"), services)?;
            here.dns.set_addresses(&domain, [Ipv4Addr::LOCALHOST.into()])?;
        }
    }
    Ok(())
}

async fn start_nodes(world: &mut World, command: &NodeCommand) -> Result<()> {
    let mut starts = Vec::new();
    for region in &world.regions {
        for node in 0..region.ports.len() {
            let command = command.clone().with_name(format!("{}-{}", region.name, node + 1));
            let environment = world.node_environment(&region.name, node);
            let command = environment::applied(command, environment);
            starts.push(command.with_scratch(&world.scratch).start());
        }
    }
    let mut nodes = try_join_all(starts).await?.into_iter();
    for region in &mut world.regions {
        region.nodes = nodes.by_ref().take(region.ports.len()).collect::<Vec<NodeProcess>>();
    }
    Ok(())
}

/// The links so far, and the round trips to give them.
struct Links {
    from_primary: Map<RegionName, Duration>,
    between: Map<(RegionName, RegionName), Duration>,
    links: Map<(RegionName, RegionName), Link>,
}

impl Links {
    fn new(builder: &WorldBuilder) -> Self {
        let distances = builder.regions().map(|(name, distance)| (name.clone(), distance));
        Self { from_primary: distances.collect(), between: builder.between.clone(), links: Map::new() }
    }

    /// Adds a relay to `target` to the link between two regions.
    fn relay(&mut self, (one, other): (&str, &str), traffic: Traffic, target: SocketAddr) -> Result<Relay> {
        let relay = Relay::start(target)?;
        relay.set_round_trip(self.round_trip(one, other));
        self.links.entry(pair(one, other)).or_default().add(traffic, relay.clone());
        Ok(relay)
    }

    fn round_trip(&self, one: &str, other: &str) -> Duration {
        let by_way_of_primary = self.from_primary[one] + self.from_primary[other];
        self.between.get(&pair(one, other)).copied().unwrap_or(by_way_of_primary)
    }
}

/// Returns 48 letters and digits: Homing requires at least 32 bytes.
fn secret() -> String {
    let hexadecimal = |_| format!("{:016x}", rand::random::<u64>());
    (0..3).map(hexadecimal).collect()
}
