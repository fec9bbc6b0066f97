//! The first calls after many that their callers dropped, as browsers that go away do.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{HANGING_MS, REPLICA};
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::Scene;
use crate::scene::directory::Directory;

/// Measures a read and an insert before requests that are dropped at any moment, right after them, and once more. The first
/// ones after them may have to open a connection: one whose statement was cancelled is closed, since the cancellation may
/// arrive late.
pub(super) async fn measure(run: &mut Run, scene: &Scene) -> Result<()> {
    let rounds = run.repetitions(ROUNDS, ROUNDS / 5);
    run.console
        .heading(&format!("{} requests in a replica region, dropped within some milliseconds", rounds * AT_ONCE));
    let mut directory = scene.directory(REPLICA).await?;
    let [mut before, mut first, mut second] = [Calls::default(), Calls::default(), Calls::default()];
    for round in 0..rounds {
        before.make(&mut directory).await?;
        let mut dropped = JoinSet::new();
        for number in round..round + AT_ONCE {
            dropped.spawn(drop_early(scene.directory(REPLICA).await?, number));
        }
        dropped.join_all().await.into_iter().collect::<Result<()>>()?;
        first.make(&mut directory).await?;
        second.make(&mut directory).await?;
    }
    let mut table = Table::new(&["", "p50 before", "p50 of first", "max of first", "p50 of second", "bar"]);
    for (what, name, samples) in [
        ("read", "read", [&before.reads, &first.reads, &second.reads]),
        ("insert, with its wait", "insert", [&before.inserts, &first.inserts, &second.inserts]),
    ] {
        let [before, first, second] = samples;
        let times = [before.p50(), first.p50(), first.max(), second.p50()].map(milliseconds);
        let bar = format!("first <= {HANGING_MS} ms, second <= {MAX_RATIO} x");
        table.row([what.to_owned()].into_iter().chain(times).chain([bar]));
        run.findings.figure(format!("dropped.{name}_first_p50_ms"), first.p50());
        let ratio = second.p50() / before.p50();
        run.findings.figure(format!("dropped.{name}_ratio"), ratio);
        run.check(format!("dropped requests leave no {name} hanging"), first.above(HANGING_MS) == 0, || {
            format!("one takes {}", milliseconds(first.max()))
        });
        run.check(format!("the second {name} takes as long as before"), ratio <= MAX_RATIO, || {
            format!("{ratio:.2} times as long")
        });
    }
    run.show(&table, &[]);
    Ok(())
}

#[derive(Debug, Default)]
struct Calls {
    reads: Samples,
    inserts: Samples,
}

impl Calls {
    async fn make(&mut self, directory: &mut Directory) -> Result<()> {
        self.reads.push(directory.get(1).await?.report.total_ms);
        self.inserts.push(directory.insert("kept", 1).await?.report.total_ms);
        Ok(())
    }
}

/// Sends a request on a connection of its own, and closes the connection some milliseconds later.
async fn drop_early(mut directory: Directory, number: usize) -> Result<()> {
    let request = async {
        match number % 3 {
            0 => directory.insert("dropped", 1).await.map(drop),
            1 => directory.birthdays("dropped").await.map(drop),
            _ => directory.named("dropped").await.map(drop),
        }
    };
    // Some end in time. That is as good.
    timeout(Duration::from_micros(number as u64 * 700 % 5_000), request).await.unwrap_or(Ok(()))
}

const ROUNDS: usize = 50;

/// More than the pools have connections.
const AT_ONCE: usize = 20;

const MAX_RATIO: f64 = 1.5;
