//! Inserts while another session inserts in bulk in an open transaction: the log that replicas have may end in the middle of
//! a record, so the position of a commit alone does not tell when it is replayed.

use anyhow::{Context, Result, ensure};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::REPLICA;
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;
use crate::scene::Scene;
use crate::scene::direct::{Direct, Replayed};

/// Measures the waits of commits and of calls that wrote nothing, against the time that the replica takes by itself.
pub(super) async fn measure(run: &mut Run, scene: &Scene) -> Result<()> {
    let count = run.repetitions(1_000, 100);
    run.console.heading(&format!("{count} inserts from a replica region, while a transaction inserts in bulk"));
    let mut directory = scene.directory(REPLICA).await?;
    let (direct, replica) = (Direct::connect(scene, REPLICA).await?, Replayed::connect(scene, REPLICA).await?);
    let bulk = Bulk::begin(scene).await?;
    let (mut waits, mut unchanged, mut replays) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..count {
        waits.push(directory.insert("beside bulk", 1).await?.report.replay_wait_ms);
        let nobody = directory.birthdays("nobody is called this").await?;
        ensure!(nobody.birthdays == 0, "the call that should write nothing wrote");
        unchanged.push(nobody.report.replay_wait_ms);
        replays.push(replica.wait(direct.insert_row("replayed", 1).await?).await?);
    }
    bulk.roll_back().await?;
    let mut table = Table::new(&["", "p50", "p99", "max", "bar"]);
    let bar = format!("p99 <= + {MAX_LATER_MS} ms");
    for (what, samples, bar) in [
        ("replay of an INSERT by the driver alone", &replays, ""),
        ("replay_wait of an insert", &waits, &bar),
        ("replay_wait of an update that matches no row", &unchanged, "0"),
    ] {
        let times = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        table.row([what.to_owned()].into_iter().chain(times).chain([bar.to_owned()]));
    }
    run.findings.figure("bulk.wait_p99_ms", waits.p99());
    run.findings.figure("bulk.replay_p99_ms", replays.p99());
    let later = waits.p99() - replays.p99();
    run.check(
        format!("commits wait at most {MAX_LATER_MS} ms longer than their replay"),
        later <= MAX_LATER_MS,
        || format!("{} longer", milliseconds(later)),
    );
    let waiting = unchanged.above(0.0);
    run.check("calls that wrote nothing do not wait", waiting == 0, || format!("{waiting} do"));
    run.show(&table, &[]);
    Ok(())
}

/// A transaction that inserts in bulk until it is told to stop.
struct Bulk {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Client>>,
}

impl Bulk {
    async fn begin(scene: &Scene) -> Result<Self> {
        let client = scene.primary_database().connect().await?;
        client.batch_execute("create table bulk (number int)").await?;
        client.batch_execute("begin").await?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                client.batch_execute(INSERTS).await?;
            }
            Ok(client)
        });
        Ok(Self { stop, task })
    }

    async fn roll_back(self) -> Result<()> {
        drop(self.stop);
        let client = self.task.await?.context("the bulk insert")?;
        client.batch_execute("rollback").await?;
        client.batch_execute("drop table bulk").await?;
        Ok(())
    }
}

/// Some megabytes of log in a few milliseconds, then a moment in which the log ends wherever it ends.
const INSERTS: &str = "insert into bulk select generate_series(1, 20000); select pg_sleep(0.005)";

const MAX_LATER_MS: f64 = 20.0;
