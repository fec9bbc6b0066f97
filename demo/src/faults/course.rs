//! The course of a run: worlds, faults in them, and the judgement at the end of each world.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::{Instant, sleep};

use super::checker;
use super::checker::stall::Outage;
use super::checker::stored::Fork;
use super::checker::violation::Violation;
use super::clock::now;
use super::fault::{CALM, Fault};
use super::phase::{self, Phase, Table};
use super::scene::{Plan, Scene, Setup};
use super::schedule::{Schedule, Slot};
use super::stored;
use crate::output::console::Console;

/// What a run has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) table: Table,
    pub(super) violations: Vec<Violation>,
    /// Faults that could not be made, and those after which not all nodes wrote again.
    pub(super) failures: Vec<String>,
}

/// Runs a schedule for so long.
pub(super) async fn run(console: &Console, setup: &Setup, faults: Vec<Fault>, time: Duration) -> Result<Found> {
    let mut found = Found::default();
    let limit = Instant::now() + time;
    let mut schedule = Schedule::new(faults, setup.longest, setup.seed).peekable();
    while Instant::now() < limit {
        let plan = schedule.peek().context("there is no fault")?.fault.plan();
        let mut world = Running::start(console, plan, setup).await?;
        // A promotion cannot be undone, so its world ends with it. Other worlds end before they have too much to read.
        let mut slots = 0;
        while let Some(slot) = schedule.next_if(|slot| slot.fault.plan() == plan) {
            world.phase(console, slot).await;
            slots += 1;
            if plan == Plan::Promotion || slots == MAX_PHASES || Instant::now() >= limit || world.is_broken() {
                break;
            }
        }
        if let Err(error) = world.judge(console, setup, &mut found).await {
            found.failures.push(format!("a world cannot be judged: {error:#}"));
        }
    }
    Ok(found)
}

/// A world, with the phases that it has been through.
struct Running {
    scene: Scene,
    phases: Vec<Phase>,
    fork: Option<Fork>,
}

impl Running {
    async fn start(console: &Console, plan: Plan, setup: &Setup) -> Result<Self> {
        console.progress("starting databases, links and nodes");
        let scene = Scene::start(plan, setup).await.context("the regions cannot be started")?;
        let mut running = Self { scene, phases: Vec::new(), fork: None };
        running.phase(console, Slot { fault: CALM, hold: CALM_TIME, rng: SmallRng::seed_from_u64(0) }).await;
        Ok(running)
    }

    /// Makes a fault, and waits until all nodes write again.
    async fn phase(&mut self, console: &Console, mut slot: Slot) {
        let (name, hold) = (slot.fault.name, slot.hold.as_secs_f64());
        console.progress(format!("{name}, for {hold:.1} s"));
        let from = now();
        let mut phase = Phase { fault: name, from, to: from, outages: Vec::new(), failure: None };
        match self.make(&mut slot, &mut phase).await {
            Ok(took) => console.line(format!("{name}: {hold:.1} s, and all nodes wrote again after {took:.2} s")),
            Err(error) => {
                let failure = format!("{name}: {error:#}");
                console.line(&failure);
                phase.failure = Some(failure);
            }
        }
        phase.to = now();
        self.phases.push(phase);
    }

    /// Returns how many seconds it took until all nodes wrote again.
    async fn make(&mut self, slot: &mut Slot, phase: &mut Phase) -> Result<f64> {
        let Slot { fault, hold, rng } = slot;
        let mut trouble = fault.start(&self.scene, rng, *hold).await.context("it cannot begin")?;
        sleep(*hold).await;
        let ended = fault.end(&self.scene, &mut trouble).await.context("it cannot end");
        phase.outages.append(&mut trouble.outages);
        self.fork = trouble.fork.or(self.fork);
        ended?;
        let ended = now();
        self.scene.writes_everywhere(ended).await?;
        Ok((now() - ended) as f64 / 1e6)
    }

    /// Returns whether the last fault has left something behind.
    fn is_broken(&self) -> bool {
        self.phases.last().is_some_and(|phase| phase.failure.is_some())
    }

    /// Returns the times of all phases in which a region cannot reach the primary.
    fn outages(&self) -> Vec<Outage> {
        self.phases.iter().flat_map(|phase| phase.outages.iter().cloned()).collect()
    }

    /// Ends the nodes, and compares what they know with what is stored.
    async fn judge(self, console: &Console, setup: &Setup, found: &mut Found) -> Result<()> {
        console.progress("comparing what callers know with what is stored");
        let history = self.scene.end_nodes().await?;
        let client = self.scene.connect_to_primary().await?;
        let stored = stored::read(&client, self.fork).await.context("cannot read what is stored")?;
        let violations = checker::judge(&history, &stored, &self.outages());
        phase::count(&mut found.table, &self.phases, &history, &stored, &violations);
        found.failures.extend(self.phases.iter().filter_map(|phase| phase.failure.clone()));
        found.violations.extend(violations);
        if let Some(folder) = &setup.keep {
            self.scene.keep(folder).context("cannot copy the journals")?;
        }
        self.scene.end().await;
        Ok(())
    }
}

/// How long a world is left alone at its beginning.
const CALM_TIME: Duration = Duration::from_secs(2);

/// The faults of a world. Their history has to fit into the memory.
const MAX_PHASES: usize = 40;
