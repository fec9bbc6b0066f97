//! `cargo xtask bench`: compares the figures that Homing promises with their bars, all in one run.

mod bulk;
mod dropped;
mod once;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use homing_testbed::Binaries;

use crate::interrupt::{Interrupt, interrupted};
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::program::{Profile, build_example};
use crate::run::{Effort, Run};
use crate::scene::direct::Direct;
use crate::scene::directory::Report;
use crate::scene::{Place, Scene};

/// Measure what Homing promises, on an otherwise idle machine, and compare it with the bars
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Repeat less; the figures are coarser
    #[arg(long)]
    quick: bool,
    /// Measure a debug build of the nodes: it builds faster, and its figures say nothing about the promises
    #[arg(long)]
    debug: bool,
    /// Write the bars and figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let binaries = Binaries::find()?;
        let node = build_example("directory", if self.debug { Profile::Dev } else { Profile::Release })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = Interrupt::new()?;
            let mut run = Run::new(if self.quick { Effort::Quick } else { Effort::Full });
            let starting = Scene::start(&PLACES, &node, binaries);
            let Some(scene) = interrupt.or(starting).await.transpose()? else { return Ok(interrupted()) };
            let Some(measured) = interrupt.or(measure(&mut run, &scene)).await else {
                scene.end().await;
                return Ok(interrupted());
            };
            scene.end().await;
            measured?;
            if let Some(file) = &self.json {
                run.findings.write(file)?;
            }
            let missed = run.findings.failed();
            run.console.verdict(missed == 0, &format!("{} bars, {missed} missed", run.findings.checks().len()));
            Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }
}

async fn measure(run: &mut Run, scene: &Scene) -> Result<()> {
    run.console
        .remark("Times are measured inside the nodes, without HTTP; those of the driver alone, in this process.");
    near(run, scene).await?;
    far(run, scene).await?;
    bulk::measure(run, scene).await?;
    dropped::measure(run, scene).await?;
    once::measure(run, scene).await?;
    sequential(run, scene).await
}

/// Measures without latency: the time that Homing itself takes.
async fn near(run: &mut Run, scene: &Scene) -> Result<()> {
    run.console.heading("No added latency");
    scene.set_round_trip(REPLICA, Duration::ZERO);
    let repetitions = run.repetitions(3_000, 300);
    let inserts = inserts(scene, repetitions).await?;
    let mut directory = scene.directory(REPLICA).await?;
    let mut reads = Samples::default();
    for _ in 0..repetitions {
        reads.push(directory.get(1).await?.report.total_ms);
    }
    let mut table = Table::new(&["", "calls", "p50", "p99", "max", "bar"]);
    let bar = format!("p50 <= {MAX_NEAR_MS} ms");
    let rows = [
        ("insert from a replica region, with its wait", "near.insert", &inserts.forwarded, bar),
        ("  route", "near.insert_route", &inserts.stage(|report| report.route_ms), String::new()),
        ("  forward", "near.insert_forward", &inserts.stage(|report| report.forward_ms), String::new()),
        ("  execute", "near.insert_execute", &inserts.stage(|report| report.execute_ms), String::new()),
        ("  replay_wait", "near.insert_replay_wait", &inserts.stage(|report| report.replay_wait_ms), String::new()),
        ("the same INSERT by the driver alone", "near.direct_insert", &inserts.direct, String::new()),
        ("read on the replica", "near.read", &reads, String::new()),
    ];
    for (what, name, samples, bar) in rows {
        let times = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        table.row([what.to_owned(), samples.len().to_string()].into_iter().chain(times).chain([bar]));
        run.findings.figure(format!("{name}_p50_ms"), samples.p50());
        run.findings.figure(format!("{name}_p99_ms"), samples.p99());
    }
    run.findings.figure("near.insert_ratio", inserts.ratio());
    let p50 = inserts.forwarded.p50();
    run.check(format!("an insert with its wait takes at most {MAX_NEAR_MS} ms"), p50 <= MAX_NEAR_MS, || {
        milliseconds(p50)
    });
    run.show(&table, &[]);
    Ok(())
}

/// Measures at 200 ms: the time that Homing adds to one round trip.
async fn far(run: &mut Run, scene: &Scene) -> Result<()> {
    run.console.heading("200 ms round trip");
    scene.set_round_trip(REPLICA, FAR);
    let inserts = inserts(scene, run.repetitions(100, 15)).await?;
    scene.set_round_trip(REPLICA, Duration::ZERO);
    let mut table = Table::new(&["", "calls", "p50", "max", "ratio", "bar"]);
    let ratio = inserts.ratio();
    let rows = [
        ("insert, with its wait", &inserts.forwarded, format!("{ratio:.4}"), format!("<= {MAX_RATIO}")),
        ("the same INSERT by the driver alone", &inserts.direct, String::new(), String::new()),
    ];
    for (what, samples, ratio, bar) in rows {
        let times = [samples.p50(), samples.max()].map(milliseconds);
        table.row([what.to_owned(), samples.len().to_string()].into_iter().chain(times).chain([ratio, bar]));
    }
    run.findings.figure("far.insert_p50_ms", inserts.forwarded.p50());
    run.findings.figure("far.direct_insert_p50_ms", inserts.direct.p50());
    run.findings.figure("far.insert_ratio", ratio);
    run.check(format!("it takes at most {MAX_RATIO} of the driver's time"), ratio <= MAX_RATIO, || {
        format!("{ratio:.4}")
    });
    run.show(&table, &[]);
    Ok(())
}

/// Inserts one row after the other on an otherwise idle primary, and waits for the replay of each. If a position lay past
/// the end of what is replayed, a waiter would hang, about once in a thousand inserts.
async fn sequential(run: &mut Run, scene: &Scene) -> Result<()> {
    let count = run.repetitions(20_000, 2_000);
    run.console.heading(&format!("{count} inserts from a replica region, one after the other, each with its wait"));
    let mut directory = scene.directory(REPLICA).await?;
    let (mut waits, mut totals) = (Samples::default(), Samples::default());
    for number in 1..=count {
        let report = directory.insert("sequential", 1).await?.report;
        waits.push(report.replay_wait_ms);
        totals.push(report.total_ms);
        if number % 100 == 0 {
            run.console.progress(format!("{number} inserts"));
        }
    }
    let mut table = Table::new(&["", "p50", "p99", "max", "over 500 ms", "bar"]);
    for (what, samples, bar) in [("replay_wait", &waits, "0"), ("total", &totals, "")] {
        let times = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        let slow = samples.above(HANGING_MS).to_string();
        table.row([what.to_owned()].into_iter().chain(times).chain([slow, bar.to_owned()]));
    }
    let hanging = waits.above(HANGING_MS);
    run.findings.figure("sequential.inserts", count as f64);
    run.findings.figure("sequential.wait_p50_ms", waits.p50());
    run.findings.figure("sequential.wait_max_ms", waits.max());
    run.findings.figure("sequential.wait_over_500_ms", hanging as f64);
    run.check("no wait takes over 500 ms", hanging == 0, || format!("{hanging} do"));
    run.show(&table, &[]);
    Ok(())
}

/// Inserts through Homing and by the driver alone, in turns, so that both run under the same conditions.
#[derive(Debug, Default)]
struct Inserts {
    reports: Vec<Report>,
    forwarded: Samples,
    direct: Samples,
}

impl Inserts {
    fn ratio(&self) -> f64 {
        self.forwarded.p50() / self.direct.p50()
    }

    fn stage(&self, stage: fn(&Report) -> f64) -> Samples {
        self.reports.iter().map(stage).collect()
    }
}

async fn inserts(scene: &Scene, repetitions: usize) -> Result<Inserts> {
    let mut directory = scene.directory(REPLICA).await?;
    let direct = Direct::connect(scene, REPLICA).await.context("straight to the primary's database")?;
    let mut inserts = Inserts::default();
    for repetition in 0..repetitions + WARM_UP {
        let report = directory.insert("forwarded", 1).await?.report;
        let alone = direct.insert("direct", 1).await?;
        if repetition >= WARM_UP {
            inserts.forwarded.push(report.total_ms);
            inserts.reports.push(report);
            inserts.direct.push(alone);
        }
    }
    Ok(inserts)
}

const REPLICA: &str = "syd";

const FAR: Duration = Duration::from_millis(200);

/// The replica starts far away and is moved, so that one world serves all measurements.
const PLACES: [Place; 2] = [Place::primary("iad", 1), Place::replica(REPLICA, FAR)];

/// The first calls open connections and prepare statements.
const WARM_UP: usize = 10;

const MAX_NEAR_MS: f64 = 2.5;

const MAX_RATIO: f64 = 1.05;

const HANGING_MS: f64 = 500.0;
