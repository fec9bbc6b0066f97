//! The regions, with a guestbook in each.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use homing_testbed::{Binaries, Cut, Link, NodeCommand, NodeProcess, PostgresOptions, World};

use crate::scene::Place;

/// A running world. When it is dropped, everything ends and is removed.
#[derive(Debug)]
pub(super) struct Stage {
    /// Dropped before the world, which ends the databases and links that they use.
    nodes: Vec<Node>,
    world: World,
}

/// A node of the guestbook.
#[derive(Debug)]
pub(super) struct Node {
    /// Such as `iad-1`.
    pub(super) name: String,
    pub(super) region: &'static str,
    pub(super) process: NodeProcess,
    /// The address of its page. It stays the same when the node is started again.
    pub(super) url: String,
}

impl Stage {
    /// Starts databases, links and nodes. `places` begins with the primary region.
    pub(super) async fn start(places: &[Place], program: &Path, binaries: Binaries, control: &str) -> Result<Self> {
        let primary = places.first().context("a world has a region")?;
        let mut world = World::builder().app("guestbook").primary(primary.region).nodes(primary.region, primary.nodes);
        for place in places.iter().filter(|place| !place.is_primary()) {
            world = world.region(place.region, place.round_trip).nodes(place.region, place.nodes);
        }
        let world = world.postgres(PostgresOptions::default().with_binaries(binaries)).start().await?;
        let mut nodes = Vec::new();
        for place in places {
            for number in 0..place.nodes {
                let port = port(FIRST_PORT + nodes.len() as u16)?;
                let name = format!("{}-{}", place.region, number + 1);
                let command = NodeCommand::new(program)
                    .envs(world.node_environment(place.region, number))
                    .env("GUESTBOOK_LISTEN", format!("127.0.0.1:{port}"))
                    .env("DASHBOARD_CONTROL", control)
                    .with_scratch(world.scratch())
                    .with_name(&name);
                let process = without_foreign_settings(command).start().await?;
                nodes.push(Node { name, region: place.region, process, url: format!("http://127.0.0.1:{port}/") });
            }
        }
        Ok(Self { nodes, world })
    }

    pub(super) fn all_nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn nodes(&self, region: &str) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.region == region)
    }

    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(super) fn database_url(&self, region: &str) -> String {
        self.world.replica(region).url()
    }

    /// Returns the regions whose link to the primary region can be cut.
    pub(super) fn replica_regions(&self) -> impl Iterator<Item = &str> {
        self.world.regions().filter(|region| *region != self.world.primary_region())
    }

    /// Returns the link of a replica region.
    pub(super) fn link(&self, region: &str) -> Option<&Link> {
        self.replica_regions().any(|known| known == region).then(|| self.world.link(region))
    }

    /// Ends everything and waits until it is gone.
    pub(super) async fn end(self) {
        drop(self.nodes);
        self.world.shutdown().await;
    }
}

/// How the page cuts a link: connections stay open, and nothing arrives.
pub(super) const CUT: Cut = Cut::Blackhole;

/// Returns this port if it is free, or else any free one.
fn port(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
    let listener = listener.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// Removes variables of this process's environment that a node would take for its settings.
fn without_foreign_settings(command: NodeCommand) -> NodeCommand {
    ["HOMING_PEERS", "HOMING_DATABASE_URL", "FLY_REGION", "PRIMARY_REGION", "FLY_APP_NAME"]
        .into_iter()
        .fold(command, NodeCommand::without_env)
}

/// Easy to remember.
const FIRST_PORT: u16 = 8080;
