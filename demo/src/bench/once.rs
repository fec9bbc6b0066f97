//! What exactly once costs: the same inserts with and without a key, in turns.

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::REPLICA;
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::Scene;
use crate::scene::directory::Directory;

/// Figures of inserts with one kind of delivery.
#[derive(Debug, Default)]
struct Inserts {
    latency: Samples,
    count: f64,
    seconds: f64,
    wal_bytes: f64,
}

impl Inserts {
    fn per_second(&self) -> f64 {
        self.count / self.seconds
    }

    fn bytes_each(&self) -> f64 {
        self.wal_bytes / self.count
    }
}

/// Measures inserts from the primary's region and from a replica region: one caller, and 64 at once.
pub(super) async fn measure(run: &mut Run, scene: &Scene) -> Result<()> {
    let (alone, rounds) = (run.repetitions(1_000, 100), run.repetitions(20, 4));
    run.console.heading(&format!(
        "Exactly once and at most once in turns: {alone} inserts by one caller, then {CALLERS} callers"
    ));
    let primary = scene.database("iad").connect().await?;
    let mut table =
        Table::new(&["", "once p50", "at most once", "more", "once /s", "at most once /s", "ratio", "WAL of a key"]);
    for (region, name, wait) in [("iad", "primary region", "local"), (REPLICA, "replica region", "forwarded")] {
        let [mut once, mut at_most] = [Inserts::default(), Inserts::default()];
        let mut directory = scene.directory(region).await?;
        for _ in 0..alone {
            once.latency.push(directory.insert("once", 1).await?.report.total_ms);
            at_most.latency.push(directory.insert_at_most_once("at most once", 1).await?.report.total_ms);
        }
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            callers.push(scene.directory(region).await?);
        }
        for _ in 0..rounds {
            crowd(&mut once, &mut callers, &primary, Delivery::Once).await?;
            crowd(&mut at_most, &mut callers, &primary, Delivery::AtMostOnce).await?;
        }
        let more = once.latency.p50() - at_most.latency.p50();
        let ratio = once.per_second() / at_most.per_second();
        let bytes = once.bytes_each() - at_most.bytes_each();
        table.row([
            format!("insert in a {name}"),
            milliseconds(once.latency.p50()),
            milliseconds(at_most.latency.p50()),
            milliseconds(more),
            format!("{:.0}", once.per_second()),
            format!("{:.0}", at_most.per_second()),
            format!("{ratio:.3}"),
            format!("{bytes:.0} bytes"),
        ]);
        run.findings.figure(format!("once.{wait}_more_ms"), more);
        run.findings.figure(format!("once.{wait}_throughput_ratio"), ratio);
        run.findings.figure(format!("once.{wait}_wal_bytes"), bytes);
        run.check(format!("{wait}: a key takes at most {MAX_MORE_MS} ms"), more <= MAX_MORE_MS, || milliseconds(more));
        run.check(format!("{wait}: a key costs at most 15 % of the throughput"), ratio >= MIN_RATIO, || {
            format!("{:.1} %", 100.0 * (1.0 - ratio))
        });
    }
    let bytes_of_row = bytes_of_row(&primary).await?;
    // A slot is pruned at most 40 minutes after its first key.
    let disk = bytes_of_row * 1_000.0 * 40.0 * 60.0 / 1e6;
    run.findings.figure("once.row_bytes", bytes_of_row);
    run.findings.figure("once.disk_mb_at_1000_per_s", disk);
    let disk = format!(
        "A row takes {bytes_of_row:.0} bytes with its index: {disk:.0} MB at 1,000 writes/s, also after a day."
    );
    run.show(&table, &[]);
    run.console.remark(&disk);
    Ok(())
}

/// Which inserts to make.
#[derive(Debug, Clone, Copy)]
enum Delivery {
    Once,
    AtMostOnce,
}

/// Lets all callers insert a few times.
async fn crowd(inserts: &mut Inserts, callers: &mut [Directory], primary: &Client, delivery: Delivery) -> Result<()> {
    let before = written(primary).await?;
    let started = Instant::now();
    let all = callers.iter_mut().map(|directory| async move {
        for _ in 0..EACH {
            match delivery {
                Delivery::Once => directory.insert("once", 1).await?,
                Delivery::AtMostOnce => directory.insert_at_most_once("at most once", 1).await?,
            };
        }
        anyhow::Ok(())
    });
    try_join_all(all).await?;
    inserts.seconds += started.elapsed().as_secs_f64();
    inserts.count += (CALLERS * EACH) as f64;
    inserts.wal_bytes += written(primary).await? - before;
    Ok(())
}

/// Returns how many bytes of WAL the primary has written.
async fn written(primary: &Client) -> Result<f64> {
    let sql = "select (pg_current_wal_insert_lsn() - '0/0')::float8";
    Ok(primary.query_one(sql, &[]).await?.try_get(0)?)
}

async fn bytes_of_row(primary: &Client) -> Result<f64> {
    let sql = "select (sum(pg_total_relation_size(relid)) / nullif((select count(*) from homing.outcome), 0))::float8
               from pg_partition_tree('homing.outcome') where isleaf";
    Ok(primary.query_one(sql, &[]).await?.try_get(0)?)
}

const CALLERS: usize = 64;

/// How many inserts each caller makes before it is the turn of the others.
const EACH: usize = 10;

const MAX_MORE_MS: f64 = 0.3;

const MIN_RATIO: f64 = 0.85;
