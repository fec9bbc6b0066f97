//! The first calls after many that their callers dropped, as browsers that go away do.

use anyhow::Result;
use serde_json::Value;

use super::order::{INSERT, Order, Pauses, Times, Work};
use super::stage::Away;
use super::tracker::HANGING_MS;
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;

/// Measures a read and an insert before calls that are dropped at any moment, right after them, and once more. The first ones
/// after them may have to open a connection: one whose statement was cancelled is closed, since the cancellation may arrive
/// late.
pub(super) async fn measure(run: &mut Run, near: &mut Away) -> Result<()> {
    let rounds = run.repetitions(ROUNDS, ROUNDS / 5);
    run.console.heading(&format!("{} calls in a replica region, dropped within some milliseconds", rounds * AT_ONCE));
    let mut all: [[Samples; 3]; 2] = Default::default();
    for round in 0..rounds {
        for moment in 0..3 {
            if moment == 1 {
                near.node.order::<Value>(&Order::Drop { calls: AT_ONCE, seed: round }).await?;
            }
            let works = vec![Work::Get, INSERT];
            let order = Order::Turns { works, rounds: 1, pauses: Pauses::None, warm_up: false };
            let times: Vec<Times> = near.node.order(&order).await?;
            for (samples, times) in all.iter_mut().zip(times) {
                samples[moment].push(times.total.p50());
            }
        }
    }
    let mut table = Table::new(&["", "p50 before", "p50 of first", "max of first", "p50 of second"]);
    for ((what, name), [before, first, second]) in
        [("read", "read"), ("insert, with its wait", "insert")].into_iter().zip(&all)
    {
        let times = [before.p50(), first.p50(), first.max(), second.p50()].map(milliseconds);
        table.row([what.to_owned()].into_iter().chain(times));
        let (longest, ratio) = (first.max(), second.p50() / before.p50());
        run.bar(
            &format!("dropped.{name}_first_max_ms"),
            longest,
            longest <= HANGING_MS,
            &format!("at most {HANGING_MS}"),
        );
        run.bar(&format!("dropped.{name}_ratio"), ratio, ratio <= MAX_RATIO, &format!("at most {MAX_RATIO}"));
    }
    run.show(&table, &[]);
    Ok(())
}

const ROUNDS: usize = 50;

/// More than the pools have connections.
const AT_ONCE: usize = 20;

const MAX_RATIO: f64 = 1.5;
