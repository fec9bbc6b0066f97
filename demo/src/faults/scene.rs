//! The regions, databases, links and nodes that the suite breaks.

pub(super) mod journals;
pub(super) mod processes;
mod storage;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use homing_testbed::{Binaries, NodeProcess, Patroni, Postgres, PostgresOptions, Relay, World};
use tokio_postgres::Client;

use self::journals::Journals;
pub(super) use self::storage::faketime;
use super::clock::{Micros, now};
use super::node::tables::SCHEMA;
use super::node::{NodeSettings, Sabotage};
use crate::program::node_command;

/// A running world. When it is dropped, everything ends and is removed.
#[derive(Debug)]
pub(super) struct Scene {
    /// Dropped before the world, which ends the databases and links that they use.
    nodes: Vec<Node>,
    standby: Option<Standby>,
    /// What has the databases of the nodes, in place of those of the world.
    patroni: Option<Patroni>,
    world: World,
    journals: RefCell<Journals>,
    /// The file that says how far the clock of the second node in the primary region is moved, if clocks can be moved.
    clock: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Such as `iad-1`.
    pub(super) name: String,
    pub(super) region: &'static str,
    pub(super) process: NodeProcess,
}

/// A second server in the primary region, which may be promoted.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) server: Postgres,
    /// Between the primary and the standby.
    pub(super) upstream: Relay,
}

/// What a world is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Faults that end.
    Lasting,
    /// A promotion: the primary region has a standby.
    Promotion,
    /// Faults of a cluster whose primary Patroni chooses. The databases of the world itself are not used.
    Patroni,
}

/// How the worlds of a run are started.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) binaries: Binaries,
    pub(super) seed: u64,
    /// How long a fault may last.
    pub(super) longest: Duration,
    pub(super) sabotage: Option<Sabotage>,
    /// The folder for the journals and logs.
    pub(super) keep: Option<PathBuf>,
}

impl Scene {
    /// Starts databases, links and nodes.
    pub(super) async fn start(plan: Plan, setup: &Setup) -> Result<Self> {
        let mut world = World::builder().app("faults").primary(PRIMARY).nodes(PRIMARY, PRIMARY_NODES).schema(SCHEMA);
        for (region, round_trip) in REPLICAS {
            world = world.region(region, round_trip);
        }
        // The faults end processes, and none takes the memory of the system with it.
        let postgres =
            PostgresOptions::default().with_binaries(setup.binaries.clone()).with_fsync(homing_testbed::Fsync::Off);
        let world = world.postgres(postgres.with_setting("log_min_messages", "log")).start().await?;
        let standby = match plan {
            Plan::Promotion => Some(storage::start_standby(&world).await?),
            Plan::Lasting | Plan::Patroni => None,
        };
        let patroni = match plan {
            Plan::Patroni => Some(storage::start_patroni().await?),
            Plan::Lasting | Plan::Promotion => None,
        };
        let journals = world.scratch().path().join(JOURNALS);
        std::fs::create_dir(&journals)?;
        let clock = storage::clock_file(&world)?;
        let mut scene = Self {
            nodes: Vec::new(),
            standby,
            patroni,
            world,
            journals: Journals::new(journals.clone()).into(),
            clock,
        };
        for (region, count) in [(PRIMARY, PRIMARY_NODES)].into_iter().chain(REPLICAS.map(|(region, _)| (region, 1))) {
            for number in 0..count {
                let name = format!("{region}-{}", number + 1);
                let settings =
                    NodeSettings { name, journals: journals.clone(), seed: setup.seed, sabotage: setup.sabotage };
                let node = scene.start_node(region, number, settings).await?;
                scene.nodes.push(node);
            }
        }
        Ok(scene)
    }

    async fn start_node(&self, region: &'static str, number: usize, settings: NodeSettings) -> Result<Node> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = node_command(&program, "faults-node")
            .with_scratch(self.world.scratch())
            .envs(self.world.node_environment(region, number))
            .envs(settings.environment())
            .with_name(&settings.name);
        if let (Some(standby), PRIMARY) = (&self.standby, region) {
            let (primary, standby) = (self.world.primary().address(), standby.server.address());
            command = command.env("DATABASE_URL", format!("postgres://postgres@{primary},{standby}/postgres"));
        }
        if let Some(patroni) = &self.patroni {
            let url = patroni.url("postgres");
            command = match region {
                PRIMARY => command.env("DATABASE_URL", url),
                _ => command.env("HOMING_REPLICA_URL", format!("{url}?target_session_attrs=prefer-standby")),
            };
        }
        if let (Some(clock), (PRIMARY, 1)) = (&self.clock, (region, number)) {
            command = command.envs(storage::moved_clock(clock));
        }
        let process = command.start().await?;
        Ok(Node { name: settings.name, region, process })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn patroni(&self) -> Result<&Patroni> {
        self.patroni.as_ref().context("this world has no Patroni")
    }

    /// Connects to the server that is the primary in the end.
    pub(super) async fn connect_to_primary(&self) -> Result<Client> {
        Ok(match (&self.patroni, &self.standby) {
            (Some(patroni), _) => {
                patroni.settled().await?;
                patroni.leader().await?.connect("postgres").await?
            }
            (None, Some(standby)) => standby.server.connect().await?,
            (None, None) => self.world.primary().connect().await?,
        })
    }

    pub(super) fn standby(&self) -> Result<&Standby> {
        self.standby.as_ref().context("this world has no standby")
    }

    /// Returns the file that moves a clock, if clocks can be moved here.
    pub(super) fn clock(&self) -> Option<&PathBuf> {
        self.clock.as_ref()
    }

    /// Waits until every node has been told of a write that began after `time`.
    pub(super) async fn writes_everywhere(&self, time: Micros) -> Result<()> {
        let all = self.nodes.len();
        let limit = now() + RECOVERY_LIMIT.as_micros() as Micros;
        loop {
            let (told, line) = {
                let mut journals = self.journals.borrow_mut();
                journals.read_on()?;
                let told: Vec<_> = self.nodes.iter().filter(|node| journals.wrote_since(&node.name, time)).collect();
                (told.len(), told.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "))
            };
            if told == all {
                return Ok(());
            }
            anyhow::ensure!(now() < limit, "after {RECOVERY_LIMIT:?} only these nodes write again: {line}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends the nodes, and returns what their journals say.
    pub(super) async fn end_nodes(&self) -> Result<super::checker::history::History> {
        let ends = self.nodes.iter().map(|node| node.process.terminate(END_LIMIT));
        for ended in futures_util::future::join_all(ends).await {
            ended?;
        }
        let mut journals = self.journals.borrow_mut();
        journals.read_on()?;
        Ok(journals.history())
    }

    /// Copies the journals and the logs of the nodes into a new folder below `folder`.
    pub(super) fn keep(&self, folder: &Path) -> Result<()> {
        let folder = folder.join(format!("world-{}", now()));
        std::fs::create_dir_all(&folder)?;
        for node in &self.nodes {
            std::fs::copy(node.process.log().path(), folder.join(format!("{}.log", node.name)))?;
        }
        for journal in std::fs::read_dir(self.world.scratch().path().join(JOURNALS))? {
            let journal = journal?;
            std::fs::copy(journal.path(), folder.join(journal.file_name()))?;
        }
        Ok(())
    }

    /// Ends everything and waits until it is gone.
    pub(super) async fn end(self) {
        drop(self.nodes);
        drop(self.standby);
        drop(self.patroni);
        self.world.shutdown().await;
    }
}

pub(super) const PRIMARY: &str = "iad";

const PRIMARY_NODES: usize = 2;

/// The replica regions. They are so near that many calls are made, and so far that calls are under way at all times.
pub(super) const REPLICAS: [(&str, Duration); 2] =
    [("ams", Duration::from_millis(8)), ("syd", Duration::from_millis(20))];

/// The folder of the journals, in that of the world.
const JOURNALS: &str = "journals";

/// Far longer than a call may take: what takes longer does not recover.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Callers end their operation first, and a call takes ten seconds at most.
const END_LIMIT: Duration = Duration::from_secs(60);
