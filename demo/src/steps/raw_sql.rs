use anyhow::Result;

use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::{Place, Scene};

/// Runs SQL that writes without marking it. PostgreSQL says that it writes, and Homing forwards it.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    run.console.heading("4  Raw SQL that writes: PostgreSQL says so, and Homing forwards it");
    run.console.line("update users set age = age + 1 where starts_with(name, $1)");
    let mut table = Table::new(&["region", "rows", "answered by", "forward", "execute", "replay_wait", "total"]);
    for place in scene.places() {
        let result = region(run, scene, place, &mut table).await;
        run.check_ran(&format!("{}: raw SQL", place.region), result);
    }
    run.show(&table, &[]);
}

async fn region(run: &mut Run, scene: &Scene, place: &Place, table: &mut Table) -> Result<()> {
    let region = place.region;
    let mut directory = scene.directory(region).await?;
    let prefix = format!("birthday-{region}-");
    directory.import(&(0..PEOPLE).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>()).await?;
    let mut right = true;
    for age in 1..=2 {
        let done = directory.birthdays(&prefix).await?;
        let seen = directory.named(&prefix).await?;
        let by = if place.is_primary() { done.report.is_local() } else { done.report.is_from(scene.primary().region) };
        right &= by && done.birthdays == PEOPLE && seen.report.is_local();
        right &= seen.users.len() == PEOPLE && seen.users.iter().all(|user| user.age == age);
        let report = done.report;
        table.row([
            region.to_owned(),
            done.birthdays.to_string(),
            report.answered_by.clone(),
            milliseconds(report.forward_ms),
            milliseconds(report.execute_ms),
            milliseconds(report.replay_wait_ms),
            milliseconds(report.total_ms),
        ]);
        run.findings.figure(format!("{region}.raw_update_{age}_ms"), report.total_ms);
    }
    run.check(
        format!("{region}: an update in raw SQL is executed in the primary region and seen here at once"),
        right,
        || "it was not".to_owned(),
    );
    Ok(())
}

const PEOPLE: usize = 5;
