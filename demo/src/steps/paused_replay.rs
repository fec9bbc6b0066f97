use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::directory::User;
use crate::scene::{Place, Scene};

/// Pauses replay in the farthest region. Writes return within their limits, and reads go to the primary until the replica
/// has caught up.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    let result = paused(run, scene).await;
    run.check_ran("pause", result);
    run.print_checks();
}

async fn paused(run: &mut Run, scene: &Scene) -> Result<()> {
    let place = *scene.places().last().context("there is a replica region")?;
    run.console.heading(&format!("6  The replica in {} stops replaying, and resumes later", place.region));
    scene.database(place.region).pause_replay().await?;
    let written = write_and_read(run, scene, &place).await;
    // Even after an error: the rest needs its replica.
    scene.database(place.region).resume_replay().await?;
    caught_up(run, scene, &place, &written?).await
}

/// Writes and reads while replay is paused, and returns the user as last written.
async fn write_and_read(run: &mut Run, scene: &Scene, place: &Place) -> Result<User> {
    let region = place.region;
    let limit_ms = run.repetitions(1_000, 500) as u64;
    run.console.progress("writing and reading");
    let mut directory = scene.directory(region).await?;
    let mut table = Table::new(&["while paused", "answered by", "replay_wait", "total"]);
    let mut note = |what: &str, report: &crate::scene::directory::Report| {
        let times = [report.replay_wait_ms, report.total_ms].map(milliseconds);
        table.row([what.to_owned(), report.answered_by.clone()].into_iter().chain(times));
    };
    let inserted = directory.insert_within("paused", 1, limit_ms).await?;
    note(&format!("insert, limit {limit_ms} ms"), &inserted.report);
    let (mut user, mut reads, mut fresh, mut by_primary) = (inserted.user, Samples::default(), true, true);
    for age in [2, 3] {
        for _ in 0..2 {
            let read = directory.get(user.id).await?;
            note("read", &read.report);
            reads.push(read.report.total_ms);
            fresh &= read.user == user;
            by_primary &= read.report.is_from(scene.primary().region);
        }
        user.age = age;
        let replaced = directory.replace_within(&user, limit_ms).await?;
        note(&format!("update, limit {limit_ms} ms"), &replaced.report);
    }
    run.console.table(&table);
    let (took, limit) = (inserted.report.total_ms, limit_ms as f64);
    run.findings.figure(format!("{region}.paused_insert_ms"), took);
    run.findings.figure(format!("{region}.paused_read_p50_ms"), reads.p50());
    let in_time = (limit..limit + place.round_trip_ms() * 1.5).contains(&took);
    run.check("pause: an insert returns once its limit for the wait is over", in_time, || milliseconds(took));
    run.check("pause: reads are answered by the primary", by_primary, || "some were not".to_owned());
    run.check("pause: no read is stale", fresh, || "some were".to_owned());
    Ok(user)
}

/// Reads and writes after replay was resumed.
async fn caught_up(run: &mut Run, scene: &Scene, place: &Place, user: &User) -> Result<()> {
    let region = place.region;
    let resumed = Instant::now();
    let mut directory = scene.directory(region).await?;
    let mut fresh = true;
    let here = async {
        loop {
            let read = directory.get(user.id).await?;
            fresh &= read.user == *user;
            if read.report.is_local() {
                return anyhow::Ok(resumed.elapsed().as_secs_f64() * 1_000.0);
            }
        }
    };
    let here = timeout(LIMIT, here).await.ok().transpose()?;
    run.check("pause: resumed, reads are answered here again", here.is_some(), || format!("not within {LIMIT:?}"));
    run.check("pause: no read is stale on the way back", fresh, || "some were".to_owned());
    let inserted = directory.insert("resumed", 1).await?;
    let back = directory.get(inserted.user.id).await?;
    let as_before =
        back.user == inserted.user && back.report.is_local() && inserted.report.total_ms < place.round_trip_ms() * 1.5;
    run.check("pause: an insert is one round trip again", as_before, || milliseconds(inserted.report.total_ms));
    if let Some(took) = here {
        run.findings.figure(format!("{region}.resumed_here_ms"), took);
        run.console.remark(format!("Reads were answered here again {} after replay was resumed.", milliseconds(took)));
    }
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(10);
