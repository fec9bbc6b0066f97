//! How much later than the replay waits end, and what waiting costs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::bulk::Bulk;
use super::order::{INSERT, Memory, Order, Pauses};
use super::stage::{Away, Home};
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;

/// Measures how much later than the true replay waits end: in a trickle, in bursts, and while a transaction inserts in bulk.
pub(super) async fn added(run: &mut Run, home: &Home, near: &mut Away) -> Result<()> {
    run.console.heading("How much later than the true replay the wait of an insert ends");
    let trickle = Order::Added { callers: 1, each: run.repetitions(500, 60), pauses: Pauses::UpToMs(40) };
    let burst = Order::Added { callers: 64, each: run.repetitions(60, 8), pauses: Pauses::None };
    let alone = Order::Added { callers: 1, each: run.repetitions(500, 60), pauses: Pauses::None };
    let mut table = Table::new(&["", "waits", "p50", "p99", "max"]);
    let mut row = |what: &str, samples: &Samples| {
        let times = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        table.row([what.to_owned(), samples.len().to_string()].into_iter().chain(times));
    };
    let samples: Samples = near.node.order(&trickle).await?;
    row("one insert now and then", &samples);
    let (p50, p99) = (samples.p50(), samples.p99());
    run.bar("tracker.added_p50_ms", p50, p50 <= 0.5, "at most 0.5");
    run.bar("tracker.added_p99_ms", p99, p99 <= 3.0, "at most 3");
    let mut note = |name: &str, samples: &Samples| {
        run.findings.figure(format!("tracker.added_{name}_p50_ms"), samples.p50());
        run.findings.figure(format!("tracker.added_{name}_p99_ms"), samples.p99());
    };
    let samples = near.node.order(&burst).await?;
    row("64 callers, one insert after the other", &samples);
    note("burst", &samples);
    let bulk = Bulk::begin(&home.primary).await?;
    let samples = near.node.order(&alone).await?;
    bulk.roll_back().await?;
    row("beside a transaction that inserts in bulk", &samples);
    note("bulk", &samples);
    run.show(&table, &[]);
    Ok(())
}

/// Measures what 1 to 10,000 waiters cost.
pub(super) async fn waiters(run: &mut Run, near: &mut Away) -> Result<()> {
    run.console.heading("Callers that wait for a replica that does not replay");
    let watcher = near.replica.connect().await?;
    let mut table = Table::new(&["waiters", "memory of the node", "for each", "questions per second"]);
    let (mut single, mut most) = (f64::NAN, f64::NAN);
    for callers in [1, 100, 10_000] {
        near.replica.pause_replay().await?;
        let memory: Memory = near.node.order(&Order::Wait { callers }).await?;
        let (mut asked, began) = (BTreeSet::new(), Instant::now());
        while began.elapsed() < WATCHED {
            let sql = "select query_start::text from pg_stat_activity where application_name = 'homing-tracker'";
            asked.extend(watcher.query(sql, &[]).await?.into_iter().filter_map(|row| row.get::<_, Option<String>>(0)));
            sleep(Duration::from_millis(2)).await;
        }
        let rate = asked.len() as f64 / began.elapsed().as_secs_f64();
        near.replica.resume_replay().await?;
        // Ends the waits.
        near.node.turns([INSERT], 1).await?;
        let each = memory.after_bytes.saturating_sub(memory.before_bytes) as f64 / callers as f64;
        let megabytes = memory.after_bytes as f64 / 1e6;
        table.row([
            callers.to_string(),
            format!("{megabytes:.1} MB"),
            format!("{each:.0} bytes"),
            format!("{rate:.1}"),
        ]);
        run.findings.figure(format!("tracker.waiters.{callers}.questions_per_s"), rate);
        if callers == 1 {
            single = rate;
            run.findings.figure("memory.idle_mb", memory.before_bytes as f64 / 1e6);
        }
        most = rate;
        if callers == 10_000 {
            run.bar("tracker.waiter_bytes", each, each <= 1_024.0, "at most 1024");
        }
    }
    let more = most / single;
    // Two questions in two seconds may fall on one side or the other.
    run.bar("tracker.questions_of_10000_vs_1", more, more <= 1.2, "at most 1.2");
    run.show(&table, &[]);
    Ok(())
}

/// Inserts one row after the other on an otherwise idle primary, and waits for the replay of each. If a position lay past
/// the end of what is replayed, a waiter would hang, about once in a thousand inserts.
pub(super) async fn sequential(run: &mut Run, near: &mut Away) -> Result<()> {
    let count = run.repetitions(20_000, 2_000);
    run.console.heading(&format!("{count} inserts from a replica region, one after the other, each with its wait"));
    let [times] = near.node.turns([INSERT], count).await?;
    let mut table = Table::new(&["", "p50", "p99", "max", "over 500 ms"]);
    for (what, samples) in [("replay_wait", &times.replay_wait), ("total", &times.total)] {
        let figures = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        table.row([what.to_owned()].into_iter().chain(figures).chain([samples.above(HANGING_MS).to_string()]));
    }
    run.findings.figure("sequential.wait_p50_ms", times.replay_wait.p50());
    run.findings.figure("sequential.wait_max_ms", times.replay_wait.max());
    let hanging = times.replay_wait.above(HANGING_MS) as f64;
    run.bar("sequential.wait_over_500_ms", hanging, hanging == 0.0, "none");
    run.show(&table, &[]);
    Ok(())
}

const WATCHED: Duration = Duration::from_secs(2);

/// No wait takes this long unless its position is wrong.
pub(super) const HANGING_MS: f64 = 500.0;
