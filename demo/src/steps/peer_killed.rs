mod phases;
mod writers;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::time::Instant;

use self::phases::{Calls, Phases, notice};
use self::writers::{WRITERS, Writers};
use crate::output::table::milliseconds;
use crate::run::Run;
use crate::scene::directory::Outcome;
use crate::scene::{Place, Scene};

/// Kills one of the two nodes in the primary region while a replica region writes.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    let result = killed(run, scene).await;
    run.check_ran("kill", result);
    run.print_checks();
}

async fn killed(run: &mut Run, scene: &Scene) -> Result<()> {
    let place = *scene.places().last().context("there is a replica region")?;
    let (region, primary) = (place.region, scene.primary().region);
    run.console.heading(&format!("5  One of the two nodes in {primary} is killed while {region} writes"));
    run.console.line(format!("{WRITERS} clients in {region} insert one row after the other"));
    run.console.progress("inserting");
    let mut writers = Writers::start(scene, region, PREFIX).await?;
    writers.wait_until(|attempts| attempts.len() >= WARM_UP).await?;
    let victim = writers.last_peer()?;
    let killed_at = Instant::now();
    scene.peer(region, &victim)?.kill().await?;
    run.console.line(format!("killed {victim} (SIGKILL) after {} inserts", writers.attempts.len()));
    run.console.progress("inserting");
    let enough = writers.attempts.len() + run.repetitions(60, 30);
    writers.wait_until(|attempts| attempts.len() >= enough).await?;
    let attempts = writers.stop().await?;

    let phases = Phases::of(attempts, killed_at, &place);
    run.console.table(&phases.table());
    let notice_ms = milliseconds(notice(&place).as_secs_f64() * 1_000.0);
    run.console.remark(format!(
        "Calls count as under way if they began before {region} could know of the kill: up to {notice_ms} after it."
    ));
    run.findings.figure("kill.outcome_unknown_calls", phases.under_way.failed("outcome unknown") as f64);
    run.findings.figure("kill.later_calls", phases.later.0.len() as f64);
    run.findings.figure("kill.later_max_ms", phases.later.times().max());
    check(run, &phases, &victim, &place);
    check_rows(run, scene, region, &phases).await?;
    back(run, scene, region, &victim).await
}

fn check(run: &mut Run, phases: &Phases, victim: &str, place: &Place) {
    let (calm, under_way, later) = (&phases.calm, &phases.under_way, &phases.later);
    run.check("kill: both nodes answered before it", calm.all_done() && calm.peers().len() == 2, || {
        format!("{} of {} calls done, by {:?}", calm.done(), calm.0.len(), calm.peers())
    });
    run.check("kill: calls under way succeed, sent again to the other node", under_way.all_done(), || {
        under_way.failures()
    });
    run.check("kill: every later call succeeds", later.all_done(), || later.failures());
    let others = later.peers().iter().all(|peer| peer != victim);
    run.check("kill: later calls are answered by the other node", others, || format!("by {:?}", later.peers()));
    let limit = place.round_trip_ms() * 1.5;
    let slowest = later.times().max();
    run.check("kill: no later call waits for the dead node", slowest < limit, || milliseconds(slowest));
}

/// Checks that each insert that returned is stored once, and nothing else.
async fn check_rows(run: &mut Run, scene: &Scene, region: &str, phases: &Phases) -> Result<()> {
    let primary = scene.database(scene.primary().region).connect().await?;
    let rows = primary.query("select name from users where starts_with(name, $1)", &[&PREFIX]).await?;
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *stored.entry(row.try_get(0)?).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for attempt in phases.all() {
        let count = stored.remove(&attempt.name).unwrap_or(0);
        let right = match &attempt.outcome {
            Outcome::Done(_) => count == 1,
            Outcome::Failed { .. } => count == 0,
        };
        if !right {
            wrong.push(format!("{} is stored {count} times", attempt.name));
        }
    }
    wrong.extend(stored.into_keys().map(|name| format!("{name} is stored, but no client wrote it")));
    run.check(format!("kill: no insert of {region} is lost, none is stored twice"), wrong.is_empty(), || {
        wrong.join(", ")
    });
    Ok(())
}

/// Starts the node again, and checks that calls use it again.
async fn back(run: &mut Run, scene: &Scene, region: &str, victim: &str) -> Result<()> {
    run.console.progress("starting it again");
    scene.peer(region, victim)?.restart().await?;
    let started = Instant::now();
    let mut writers = Writers::start(scene, region, "again-").await?;
    let used = writers.wait_until(|attempts| attempts.iter().any(|attempt| attempt.peer() == Some(victim))).await;
    let took = started.elapsed().as_secs_f64() * 1_000.0;
    run.check("kill: started again, the node is used again", used.is_ok(), || {
        format!("{:#}", used.expect_err("it failed"))
    });
    let attempts = Calls(writers.stop().await?);
    run.check("kill: no call fails when it comes back", attempts.all_done(), || attempts.failures());
    run.findings.figure("kill.used_again_ms", took);
    run.console.remark(format!("Started again, it answered a call {} after it was ready.", milliseconds(took)));
    Ok(())
}

/// Calls before the kill: enough for both nodes to get some.
const WARM_UP: usize = 20;

/// The prefix of the names that the clients write.
const PREFIX: &str = "kill-";
