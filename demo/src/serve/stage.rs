//! The regions, with a guestbook in each.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use homing_testbed::{Binaries, Cut, Link, NodeCommand, NodeProcess, PostgresOptions, World};

use crate::scene::Place;

/// A running world. Dropped, everything ends and is removed.
#[derive(Debug)]
pub(super) struct Stage {
    /// Before the world, which ends what they use.
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
    /// Of its page; the same when it is started again.
    pub(super) url: String,
}

impl Stage {
    /// Starts databases, links and nodes; `places` begins with the primary region.
    pub(super) async fn start(places: &[Place], program: &Path, binaries: Binaries, control: &str) -> Result<Self> {
        let home = places.first().context("a world has a region")?;
        let mut world = World::builder().app("guestbook").primary(home.region).nodes(home.region, home.nodes);
        for place in places.iter().filter(|place| !place.is_home()) {
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

    /// The regions whose link to the primary region can be cut.
    pub(super) fn replica_regions(&self) -> impl Iterator<Item = &str> {
        self.world.regions().filter(|region| *region != self.world.primary_region())
    }

    /// The link of a replica region.
    pub(super) fn link(&self, region: &str) -> Option<&Link> {
        self.replica_regions().any(|known| known == region).then(|| self.world.link(region))
    }

    /// Ends everything and waits until it is gone.
    pub(super) async fn end(self) {
        drop(self.nodes);
        self.world.shutdown().await;
    }
}

/// What cutting a link from the page means: connections stay, and nothing arrives.
pub(super) const CUT: Cut = Cut::Blackhole;

/// This port if it is free, else any.
fn port(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
    let listener = listener.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// Keeps from a node what it would take for its settings, and nobody here has set for it.
fn without_foreign_settings(command: NodeCommand) -> NodeCommand {
    ["HOMING_PEERS", "HOMING_DATABASE_URL", "FLY_REGION", "PRIMARY_REGION", "FLY_APP_NAME"]
        .into_iter()
        .fold(command, NodeCommand::without_env)
}

/// Easy to remember, and to find again.
const FIRST_PORT: u16 = 8080;
