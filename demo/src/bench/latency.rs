//! How long one caller waits, by distance.

use std::time::Duration;

use anyhow::Result;

use super::order::{INSERT, Order, Pauses, Times, Wait, Work};
use super::stage::{Away, Home};
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;

/// Measures next to the primary, and next to a replica that is as near.
pub(super) async fn near(run: &mut Run, home: &mut Home, near: &mut Away) -> Result<()> {
    let rounds = run.repetitions(3_000, 300);
    run.console.heading(&format!("One caller, no distance, {rounds} rounds"));
    let works = [Work::DriverInsert, INSERT, AT_MOST_ONCE, Work::Get, Work::Query, Work::DriverQuery];
    let local = home.node.turns(works, rounds).await?;
    let forwarded = near.node.turns(works, rounds).await?;
    let further =
        [FORWARD, AT_READ, Work::CallNothing, Work::UpdateNothing, Work::Transaction, Work::DriverTransaction];
    let further = near.node.turns(further, rounds).await?;
    let [polled] = near.node.turns([Work::InsertAndPoll], run.repetitions(300, 20)).await?;
    let (works, pauses) = (vec![INSERT], Pauses::UpToMs(100));
    let random = Order::Turns { works, rounds: run.repetitions(500, 40), pauses, warm_up: true };
    let random = near.node.order::<Vec<Times>>(&random).await?.swap_remove(0);

    let mut table = Table::new(&["", "p50", "p99", "forward", "execute", "replay_wait"]);
    let [local_driver, local_insert, local_at_most_once, local_get, local_query, local_driver_query] = &local;
    let [driver, insert, at_most_once, get, query, driver_query] = &forwarded;
    let [forward, at_read, nothing, unchanged, transaction, driver_transaction] = &further;
    for (what, name, times) in [
        ("primary region: INSERT by the driver alone", "local_driver_insert", local_driver),
        ("  insert", "local_insert", local_insert),
        ("  insert, at most once", "local_insert_at_most_once", local_at_most_once),
        ("  read by the driver alone", "local_driver_read", local_driver_query),
        ("  read of an entity", "local_get", local_get),
        ("  read by SQL", "local_query", local_query),
        ("replica region: INSERT by the driver alone", "direct_insert", driver),
        ("  insert with its wait", "forward_wait", insert),
        ("  the same at random times", "forward_wait_random", &random),
        ("  the same, at most once", "forward_wait_at_most_once", at_most_once),
        ("  insert without its wait, at most once", "forward", forward),
        ("  insert that waits at the next read", "forward_at_read", at_read),
        ("  insert that looks for its replay every 50 ms", "poll50", &polled),
        ("  update of no row", "forward_unchanged", unchanged),
        ("  named function that does nothing", "empty_call", nothing),
        ("  transaction of five statements", "tx5", transaction),
        ("  the same by the driver alone", "direct_tx5", driver_transaction),
        ("  read by the driver alone", "driver_read", driver_query),
        ("  read of an entity", "get", get),
        ("  read by SQL", "query", query),
    ] {
        table.row([what.to_owned()].into_iter().chain(cells(times)));
        figures(run, "0", name, times);
    }
    let p50 = |times: &Times| times.total.p50();
    ratio(run, "0.forward_wait_vs_local", p50(insert) / p50(driver), 2.5);
    ratio(run, "0.random_vs_sequence", p50(&random) / p50(insert), 1.5);
    ratio(run, "0.read_replica_vs_driver", p50(query) / p50(driver_query), 1.15);
    ratio(run, "0.read_primary_vs_driver", p50(local_query) / p50(local_driver_query), 1.15);
    ratio(run, "0.empty_call_ms", p50(nothing), 0.12);
    at_least(run, "0.poll50_vs_forward_wait", p50(&polled) / p50(insert), 20.0);
    ratio(run, "0.once_more_ms", p50(insert) - p50(at_most_once), 0.3);
    ratio(run, "0.local_once_more_ms", p50(local_insert) - p50(local_at_most_once), 0.3);
    run.show(&table, &[]);
    Ok(())
}

/// Measures what a distance adds.
pub(super) async fn far(run: &mut Run, far: &mut Away, round_trip: Duration) -> Result<()> {
    let distance = round_trip.as_millis().to_string();
    let (rounds, few) = (run.repetitions(40, 6), run.repetitions(4, 1));
    run.console.heading(&format!("One caller, {distance} ms from the primary, {rounds} rounds"));
    far.set_round_trip(round_trip);
    let works =
        [Work::DriverInsert, INSERT, FORWARD, AT_READ, Work::TwentyInBatch, Work::TwentyInFunction, Work::CallNothing];
    let single = far.node.turns(works, rounds).await?;
    let transactions = far.node.turns([Work::Transaction, Work::DriverTransaction], rounds.div_ceil(4)).await?;
    let loops = far.node.turns([Work::TwentyInLoop, Work::DriverTwentyInLoop], few).await?;
    let reads = far.node.turns([Work::Get, Work::DriverQuery], rounds * 10).await?;
    far.set_round_trip(Duration::ZERO);

    let [driver, insert, forward, at_read, batch, function, nothing] = &single;
    let [transaction, driver_transaction] = &transactions;
    let ([by_loop, driver_loop], [get, driver_read]) = (&loops, &reads);
    let mut table = Table::new(&["", "p50", "p99", "forward", "execute", "replay_wait"]);
    for (what, name, times) in [
        ("INSERT by the driver alone", "direct_insert", driver),
        ("insert with its wait", "forward_wait", insert),
        ("insert without its wait, at most once", "forward", forward),
        ("insert that waits at the next read", "forward_at_read", at_read),
        ("named function that does nothing", "empty_call", nothing),
        ("twenty inserts: by the driver alone", "direct_loop20", driver_loop),
        ("  by a loop", "loop20", by_loop),
        ("  by a batch", "batch20", batch),
        ("  by a named function", "function20", function),
        ("transaction of five statements", "tx5", transaction),
        ("  by the driver alone", "direct_tx5", driver_transaction),
        ("read of an entity", "get", get),
        ("  by the driver alone, from the replica", "driver_read", driver_read),
    ] {
        table.row([what.to_owned()].into_iter().chain(cells(times)));
        figures(run, &distance, name, times);
    }
    let p50 = |times: &Times| times.total.p50();
    ratio(run, &format!("{distance}.forward_wait_vs_direct"), p50(insert) / p50(driver), 1.02);
    let round_trips = p50(batch).max(p50(function)) / (round_trip.as_secs_f64() * 1_000.0);
    ratio(run, &format!("{distance}.batch20_rtts"), round_trips, 1.1);
    ratio(run, &format!("{distance}.tx5_vs_direct"), p50(transaction) / p50(driver_transaction), 1.0);
    run.show(&table, &[]);
    Ok(())
}

fn cells(times: &Times) -> [String; 5] {
    let stages = [&times.forward, &times.execute, &times.replay_wait].map(Samples::p50);
    let [forward, execute, replay_wait] = stages.map(milliseconds);
    [milliseconds(times.total.p50()), milliseconds(times.total.p99()), forward, execute, replay_wait]
}

fn figures(run: &mut Run, distance: &str, name: &str, times: &Times) {
    run.findings.figure(format!("latency.{distance}.{name}_ms"), times.total.p50());
    run.findings.figure(format!("latency.{distance}.{name}_p99_ms"), times.total.p99());
}

/// Notes a figure that has a bar from above.
fn ratio(run: &mut Run, name: &str, figure: f64, most: f64) {
    run.bar(&format!("latency.{name}"), figure, figure <= most, &format!("at most {most}"));
}

fn at_least(run: &mut Run, name: &str, figure: f64, least: f64) {
    run.bar(&format!("latency.{name}"), figure, figure >= least, &format!("at least {least}"));
}

const AT_MOST_ONCE: Work = Work::Insert { wait: Wait::Now, is_protected: false };

/// A call and nothing else.
const FORWARD: Work = Work::Insert { wait: Wait::Never, is_protected: false };

const AT_READ: Work = Work::Insert { wait: Wait::AtNextRead, is_protected: true };
