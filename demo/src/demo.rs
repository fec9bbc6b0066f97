//! `cargo xtask demo`: three regions on one machine, real databases, and a write followed step by step.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use homing_testbed::Binaries;
use tokio::time::Instant;

use crate::interrupt::{Interrupt, interrupted};
use crate::output::table::Table;
use crate::program::{Profile, build};
use crate::run::{Effort, Run};
use crate::scene::{Scene, THREE_REGIONS};
use crate::{serve, steps};

/// Show three regions on this machine with real databases; every step checks itself
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Repeat less: enough for the checks, with coarser figures
    #[arg(long)]
    quick: bool,
    /// Start the guestbook in all regions for your browser instead, until Ctrl-C
    #[arg(long, conflicts_with_all = ["quick", "json"])]
    serve: bool,
    /// Write the checks and figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.serve {
            return serve::run();
        }
        let binaries = Binaries::find()?;
        eprintln!("Building the nodes' program, examples/directory");
        let node = build("directory", Profile::Dev)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.show(node, binaries))
    }

    async fn show(self, node: PathBuf, binaries: Binaries) -> Result<ExitCode> {
        let mut interrupt = Interrupt::new()?;
        let effort = if self.quick { Effort::Quick } else { Effort::Full };
        let mut run = Run::new(effort);
        let started = Instant::now();
        let scene = interrupt.or(raise(&run, &node, binaries)).await;
        let Some(scene) = scene.transpose()? else { return Ok(interrupted()) };
        let steps = interrupt.or(steps::all(&mut run, &scene)).await;
        if steps.is_none() {
            scene.end().await;
            return Ok(interrupted());
        }
        let passed = run.conclude(started.elapsed());
        if !passed {
            scene.complaints().iter().for_each(|line| run.console.line(line));
        }
        if let Some(file) = &self.json {
            run.findings.write(file)?;
        }
        scene.end().await;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Starts the regions and prints a table of them.
async fn raise(run: &Run, node: &std::path::Path, binaries: Binaries) -> Result<Scene> {
    run.console.heading("Three regions on this machine");
    run.console.line(format!("PostgreSQL from {}", binaries.folder().display()));
    run.console.progress("starting databases, links and nodes");
    let started = Instant::now();
    let scene = Scene::start(&THREE_REGIONS, node, binaries).await.context("the regions cannot be started")?;
    let mut table = Table::new(&["region", "database", "nodes", "round trip to iad"]);
    for place in scene.places() {
        let cells = [place.region.to_owned(), place.role().to_owned(), place.nodes.to_string()];
        table.row(cells.into_iter().chain([place.round_trip_shown()]));
    }
    run.console.table(&table);
    let up = started.elapsed().as_secs_f64();
    run.console
        .remark(format!("Up after {up:.1} s. Every node is a process of its own; links are relays that add latency."));
    Ok(scene)
}
