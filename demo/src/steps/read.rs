use anyhow::Result;

use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::{Place, Scene};

/// Reads from every region. The local database answers.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    run.console.heading("1  Read: the local database answers");
    let mut table = Table::new(&["region", "database", "answered", "reads", "p50", "max", "round trip to iad"]);
    for place in scene.places() {
        let result = region(run, scene, place, &mut table).await;
        run.check_ran(&format!("{}: read", place.region), result);
    }
    run.show(&table, &[]);
}

async fn region(run: &mut Run, scene: &Scene, place: &Place, table: &mut Table) -> Result<()> {
    let region = place.region;
    run.console.progress(format!("reading in {region}"));
    let mut directory = scene.directory(region).await?;
    let node = directory.node().await?;
    let mut times = Samples::default();
    let mut all_here = true;
    for repetition in 0..run.repetitions(300, 100) + WARM_UP {
        let report = directory.named("nobody").await?.report;
        all_here &= report.is_local();
        if repetition >= WARM_UP {
            times.push(report.total_ms);
        }
    }
    run.findings.figure(format!("{region}.read_p50_ms"), times.p50());
    let role = node.role.unwrap_or_else(|| "?".to_owned());
    let here = if all_here { "here" } else { "elsewhere" };
    table.row([
        region.to_owned(),
        role.clone(),
        here.to_owned(),
        times.len().to_string(),
        milliseconds(times.p50()),
        milliseconds(times.max()),
        place.round_trip_shown(),
    ]);
    let is_as_built = node.region == region && node.primary_region == scene.primary().region && role == place.role();
    run.check(format!("{region}: the database is a {}", place.role()), is_as_built, || format!("it is a {role}"));
    run.check(format!("{region}: reads are answered here"), all_here, || "some were answered elsewhere".to_owned());
    if !place.is_primary() {
        let limit = place.round_trip_ms() / 2.0;
        run.check(format!("{region}: a read takes no trip to {}", scene.primary().region), times.p50() < limit, || {
            format!("p50 {}", milliseconds(times.p50()))
        });
    }
    Ok(())
}

const WARM_UP: usize = 5;
