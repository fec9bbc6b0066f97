//! `cargo xtask bench`: what Homing takes, against the driver and a pool alone, all in one run.
//!
//! Nodes are processes of this program, built for release. They make the calls and measure them; this process gives them orders.
//! What is compared takes turns within one run, since machines are noisy and differ.

mod bulk;
mod control;
mod cpu;
mod dropped;
mod latency;
mod memory;
mod node;
mod order;
mod stage;
mod throughput;
mod tracker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use homing_testbed::Binaries;
use tokio::time::Instant;

pub(crate) use self::node::BenchNode;
use self::stage::Home;
use crate::interrupt::{Interrupt, interrupted};
use crate::program::{Profile, build};
use crate::run::{Effort, Run};

/// Measure what Homing takes, on an otherwise idle machine, and compare it with the bars
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Repeat less; the figures are coarser
    #[arg(long)]
    quick: bool,
    /// Measure a debug build of the nodes: it builds faster, and its figures say nothing about the promises
    #[arg(long)]
    debug: bool,
    /// Measure only these parts: latency, throughput, tracker, bulk, dropped
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Write the bars and figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Latency,
    Throughput,
    Tracker,
    Bulk,
    Dropped,
}

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let binaries = Binaries::find()?;
        let node = match self.debug {
            true => std::env::current_exe().context("cannot find this program")?,
            false => build("homing-demo", Profile::Release)?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = Interrupt::new()?;
            let mut run = Run::new(if self.quick { Effort::Quick } else { Effort::Full });
            let started = Instant::now();
            let Some(measured) = interrupt.or(self.measure(&mut run, &node, binaries)).await else {
                return Ok(interrupted());
            };
            measured?;
            if let Some(file) = &self.json {
                run.findings.write(file)?;
            }
            let (bars, missed) = (run.findings.checks().len(), run.findings.failed());
            let seconds = started.elapsed().as_secs_f64();
            run.console.verdict(missed == 0, &format!("{bars} bars in {seconds:.0} s, {missed} missed"));
            Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    async fn measure(&self, run: &mut Run, node: &Path, binaries: Binaries) -> Result<()> {
        let pgbench = binaries.folder().join("pgbench");
        let mut home = Home::start(node, binaries).await?;
        let mut near = home.near().await?;
        if self.measures(Part::Latency) {
            latency::near(run, &mut home, &mut near).await?;
        }
        if self.measures(Part::Throughput) {
            throughput::measure(run, &mut home, &mut near, &pgbench).await?;
        }
        if self.measures(Part::Tracker) {
            tracker::added(run, &home, &mut near).await?;
            tracker::waiters(run, &mut near).await?;
            tracker::sequential(run, &mut near).await?;
        }
        if self.measures(Part::Bulk) {
            bulk::measure(run, &home, &mut near).await?;
        }
        if self.measures(Part::Dropped) {
            dropped::measure(run, &mut near).await?;
        }
        if self.measures(Part::Latency) {
            drop(near);
            let mut far = home.far().await?;
            for distance in DISTANCES {
                latency::far(run, &mut far, distance).await?;
            }
        }
        Ok(())
    }

    fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Round trips: across an ocean, and to the other side of the world.
const DISTANCES: [Duration; 2] = [Duration::from_millis(90), Duration::from_millis(200)];
