use anyhow::{Context, Result};

use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::direct::Direct;
use crate::scene::directory::Report;
use crate::scene::{Place, Scene};

/// Inserts from every region, and compares each with the same prepared INSERT sent straight to the primary's database.
pub(super) async fn run(run: &mut Run, scene: &Scene) {
    run.console.heading("2  Insert: one round trip, and the local replica has the row when the call returns");
    let headings =
        ["region", "inserts", "route", "forward", "execute", "replay_wait", "total", "read back", "direct", "ratio"];
    let mut table = Table::new(&headings);
    for place in scene.places() {
        let result = region(run, scene, place, &mut table).await;
        run.check_ran(&format!("{}: insert", place.region), result);
    }
    let remarks = [
        "Medians, measured inside the node. The stages are those of the insert with the median total, so they add up.",
        "direct: the driver alone sends the same prepared statement over the same link straight to the primary's",
        "database, in turns with the inserts. ratio: total divided by direct.",
    ];
    run.show(&table, &remarks.map(str::to_owned));
}

#[derive(Debug, Default)]
struct Measured {
    reports: Vec<Report>,
    direct: Samples,
    read_back: Samples,
    by_primary: usize,
    back_at_once: usize,
}

async fn region(run: &mut Run, scene: &Scene, place: &Place, table: &mut Table) -> Result<()> {
    let region = place.region;
    let measured = measure(run, scene, place).await?;
    let stage = |stage: fn(&Report) -> f64| measured.reports.iter().map(stage).collect::<Samples>();
    let total = stage(|report| report.total_ms);
    let ratio = total.p50() / measured.direct.p50();
    let stages = [
        ("route", stage(|report| report.route_ms)),
        ("forward", stage(|report| report.forward_ms)),
        ("execute", stage(|report| report.execute_ms)),
        ("replay_wait", stage(|report| report.replay_wait_ms)),
    ];
    let shown = shown_stages(&measured.reports, total.p50());
    let row = [region.to_owned(), total.len().to_string()].into_iter().chain(shown);
    table.row(row.chain([
        milliseconds(total.p50()),
        milliseconds(measured.read_back.p50()),
        milliseconds(measured.direct.p50()),
        format!("{ratio:.3}"),
    ]));
    for (stage, times) in &stages {
        run.findings.figure(format!("{region}.insert_{stage}_p50_ms"), times.p50());
    }
    run.findings.figure(format!("{region}.insert_p50_ms"), total.p50());
    run.findings.figure(format!("{region}.direct_insert_p50_ms"), measured.direct.p50());
    run.findings.figure(format!("{region}.insert_ratio"), ratio);
    run.findings.figure(format!("{region}.read_back_p50_ms"), measured.read_back.p50());
    check(run, place, &measured, &total, ratio);
    Ok(())
}

async fn measure(run: &Run, scene: &Scene, place: &Place) -> Result<Measured> {
    let region = place.region;
    let mut directory = scene.directory(region).await?;
    let direct = Direct::connect(scene, region).await?;
    let mut measured = Measured::default();
    for repetition in 0..run.repetitions(30, 9) + WARM_UP {
        run.console.progress(format!("inserting in {region}: {repetition}"));
        let (name, age) = (format!("insert-{region}-{repetition}"), 30);
        let inserted = directory.insert(&name, age).await?;
        let back = directory.get(inserted.user.id).await.context("the row was not found at once")?;
        let alone = direct.insert(&format!("direct-{region}-{repetition}"), age).await?;
        if repetition < WARM_UP {
            continue;
        }
        let as_sent = inserted.user.name == name && inserted.user.age == age;
        measured.back_at_once += usize::from(as_sent && back.user == inserted.user && back.report.is_local());
        let expected = if place.is_primary() {
            inserted.report.is_local()
        } else {
            inserted.report.is_from(scene.primary().region)
        };
        measured.by_primary += usize::from(expected);
        measured.reports.push(inserted.report);
        measured.read_back.push(back.report.total_ms);
        measured.direct.push(alone);
    }
    Ok(measured)
}

/// Returns the stages of the insert with this total. Unlike medians of each stage, they add up.
fn shown_stages(reports: &[Report], total_ms: f64) -> Vec<String> {
    let median = reports.iter().find(|report| report.total_ms == total_ms);
    let stages = |report: &Report| [report.route_ms, report.forward_ms, report.execute_ms, report.replay_wait_ms];
    median.map(stages).into_iter().flatten().map(milliseconds).collect()
}

fn check(run: &mut Run, place: &Place, measured: &Measured, total: &Samples, ratio: f64) {
    let region = place.region;
    let all = measured.reports.len();
    let by = if place.is_primary() { "here, at the primary" } else { "by a node in iad" };
    run.check(format!("{region}: inserts are executed {by}"), measured.by_primary == all, || {
        format!("{} of {all} are", measured.by_primary)
    });
    run.check(format!("{region}: the row is read back here at once"), measured.back_at_once == all, || {
        format!("{} of {all} were", measured.back_at_once)
    });
    if !place.is_primary() {
        run.check(format!("{region}: an insert is one round trip"), total.p50() < place.round_trip_ms() * 1.5, || {
            format!("p50 {} at {}", milliseconds(total.p50()), place.round_trip_shown())
        });
    }
    if place.is_far() {
        let name = format!("{region}: an insert with its wait takes at most {MAX_RATIO} times the direct INSERT");
        run.check(name, ratio <= MAX_RATIO, || format!("it takes {ratio:.3}"));
    }
}

/// The first calls open connections and prepare statements.
const WARM_UP: usize = 3;

/// Bounds what the wait, the forwarding and the second process may add. The promise is for 200 ms: at shorter distances the
/// speed of the machine counts more than the design.
const MAX_RATIO: f64 = 1.05;
