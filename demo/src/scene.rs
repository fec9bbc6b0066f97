//! The regions, databases, links and nodes of a run.

pub(crate) mod direct;
pub(crate) mod directory;
mod http;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use homing_testbed::{Binaries, NodeCommand, NodeProcess, Postgres, PostgresOptions, World};
use tokio_postgres::Config;

use self::directory::Directory;
use crate::output::table::milliseconds;

/// A running world. When it is dropped, everything ends and is removed.
#[derive(Debug)]
pub(crate) struct Scene {
    world: World,
    places: Vec<Place>,
}

/// The plan of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) region: &'static str,
    /// To the primary region and back; zero for the primary region itself.
    pub(crate) round_trip: Duration,
    pub(crate) nodes: usize,
}

impl Place {
    /// Plans the region of the primary.
    pub(crate) const fn primary(region: &'static str, nodes: usize) -> Self {
        Self { region, round_trip: Duration::ZERO, nodes }
    }

    /// Plans a region with a replica and one node.
    pub(crate) const fn replica(region: &'static str, round_trip: Duration) -> Self {
        Self { region, round_trip, nodes: 1 }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.round_trip.is_zero()
    }

    /// Returns whether the round trip is so long that it outweighs everything else.
    pub(crate) fn is_far(&self) -> bool {
        self.round_trip >= FAR
    }

    pub(crate) fn role(&self) -> &'static str {
        if self.is_primary() { "primary" } else { "replica" }
    }

    pub(crate) fn round_trip_ms(&self) -> f64 {
        self.round_trip.as_secs_f64() * 1_000.0
    }

    pub(crate) fn round_trip_shown(&self) -> String {
        if self.is_primary() { "-".to_owned() } else { milliseconds(self.round_trip_ms()) }
    }
}

impl Scene {
    /// Starts databases, links and nodes. `places` begins with the primary region.
    pub(crate) async fn start(places: &[Place], node: &Path, binaries: Binaries) -> Result<Self> {
        let primary = places.first().context("a world has a region")?;
        let mut world = World::builder().app("directory").primary(primary.region).nodes(primary.region, primary.nodes);
        for place in places.iter().filter(|place| !place.is_primary()) {
            world = world.region(place.region, place.round_trip).nodes(place.region, place.nodes);
        }
        let world = world
            .postgres(PostgresOptions::default().with_binaries(binaries))
            .node_command(NodeCommand::new(node).env("PORT", "0").without_env("HOST"))
            .start()
            .await?;
        let scene = Self { world, places: places.to_vec() };
        // The nodes in the primary region have created their table: wait until every replica has it.
        for place in scene.places.iter().filter(|place| !place.is_primary()) {
            scene.database(place.region).caught_up_with(scene.world.primary()).await?;
        }
        Ok(scene)
    }

    /// Ends everything and waits until it is gone.
    pub(crate) async fn end(self) {
        self.world.shutdown().await;
    }

    /// Returns the regions, the primary one first.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Returns the primary region.
    pub(crate) fn primary(&self) -> &Place {
        &self.places[0]
    }

    pub(crate) fn database(&self, region: &str) -> &Postgres {
        self.world.replica(region)
    }

    /// Connects to a region's first node.
    pub(crate) async fn directory(&self, region: &str) -> Result<Directory> {
        let node = self.world.nodes(region).first().context("a region has a node")?;
        let address = http_address(node).await?;
        Directory::connect(address.parse()?).await
    }

    /// Returns how to connect to the primary's database over the region's link, without Homing.
    pub(crate) fn direct_config(&self, region: &str) -> Result<Config> {
        Ok(self.world.direct_url(region).parse()?)
    }

    /// Returns the node in the primary region that `from` knows by this name, such as `iad/127.0.0.1:4750`.
    pub(crate) fn peer(&self, from: &str, name: &str) -> Result<&NodeProcess> {
        let primary = self.primary().region;
        let addresses = self.world.peer_addresses(from, primary);
        let known = |address: &std::net::SocketAddr| name == format!("{primary}/{address}");
        match addresses.iter().position(known) {
            Some(index) => Ok(&self.world.nodes(primary)[index]),
            None => bail!("{name} answered a call from {from}, but its nodes in {primary} are {addresses:?}"),
        }
    }

    /// Returns the last few warnings and errors of each node.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for node in self.places.iter().flat_map(|place| self.world.nodes(place.region)) {
            let log = node.log().contents().unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| LEVELS.iter().any(|level| line.contains(level))).collect();
            let last = &lines[lines.len().saturating_sub(MAX_COMPLAINTS)..];
            complaints.extend(last.iter().map(|line| format!("{}: {line}", node.name())));
        }
        complaints
    }
}

/// Returns the address that the node printed when it was ready.
async fn http_address(node: &NodeProcess) -> Result<String> {
    let line = node.ready_line().await;
    let address = line.strip_prefix("http=");
    Ok(address.with_context(|| format!("{} printed {line:?} instead of its address", node.name()))?.to_owned())
}

/// Three regions, the primary one first; the last one is the farthest.
pub(crate) const THREE_REGIONS: [Place; 3] = [
    Place::primary("iad", 2),
    Place::replica("ams", Duration::from_millis(90)),
    Place::replica("syd", Duration::from_millis(200)),
];

const FAR: Duration = Duration::from_millis(150);

const LEVELS: [&str; 3] = ["ERROR", "WARN", "panicked"];

const MAX_COMPLAINTS: usize = 8;
