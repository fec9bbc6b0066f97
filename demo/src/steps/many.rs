use anyhow::Result;

use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::{Place, Scene};

/// Makes twenty inserts in a loop, and the same loop as one call of a function that runs in the primary region.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    run.console
        .heading("3  Twenty inserts: a loop in the region, or one rpc_and_wait that runs it in the primary region");
    let mut table = Table::new(&["region", "loop of 20", "one rpc_and_wait", "times faster"]);
    for place in scene.places() {
        let result = region(run, scene, place, &mut table).await;
        run.check_ran(&format!("{}: twenty inserts", place.region), result);
    }
    run.show(&table, &[]);
}

async fn region(run: &mut Run, scene: &Scene, place: &Place, table: &mut Table) -> Result<()> {
    let region = place.region;
    let mut directory = scene.directory(region).await?;
    let (mut in_a_loop, mut as_one_call) = (Samples::default(), Samples::default());
    let mut all_seen = true;
    for repetition in 0..run.repetitions(3, 1) {
        let prefix = format!("loop-{region}-{repetition}-");
        run.console.progress(format!("a loop of {COUNT} inserts in {region}"));
        let imported = directory.import_in_a_loop(&names(&prefix)).await?;
        in_a_loop.push(imported.report.total_ms);
        let seen = directory.named(&prefix).await?;
        all_seen &= imported.imported == COUNT && seen.users.len() == COUNT && seen.report.is_local();
    }
    for repetition in 0..run.repetitions(5, 3) {
        let prefix = format!("rpc-{region}-{repetition}-");
        run.console.progress(format!("one call from {region} that inserts {COUNT} rows"));
        let imported = directory.import(&names(&prefix)).await?;
        as_one_call.push(imported.report.total_ms);
        let seen = directory.named(&prefix).await?;
        all_seen &= imported.imported == COUNT && seen.users.len() == COUNT && seen.report.is_local();
    }
    let factor = in_a_loop.p50() / as_one_call.p50();
    run.findings.figure(format!("{region}.loop20_ms"), in_a_loop.p50());
    run.findings.figure(format!("{region}.rpc20_ms"), as_one_call.p50());
    let shown = if place.is_primary() { "-".to_owned() } else { format!("{factor:.1}") };
    table.row([region.to_owned(), milliseconds(in_a_loop.p50()), milliseconds(as_one_call.p50()), shown]);
    run.check(format!("{region}: all twenty rows are read back here at once"), all_seen, || "some were not".to_owned());
    if !place.is_primary() {
        let limit = place.round_trip_ms() * 2.0;
        run.check(format!("{region}: one call takes less than two round trips"), as_one_call.p50() < limit, || {
            format!("it takes {}", milliseconds(as_one_call.p50()))
        });
    }
    Ok(())
}

fn names(prefix: &str) -> Vec<String> {
    (0..COUNT).map(|number| format!("{prefix}{number}")).collect()
}

const COUNT: usize = 20;
