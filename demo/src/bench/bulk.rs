//! Inserts while another session inserts in bulk in an open transaction: the log that replicas have may end in the middle of
//! a record, so the position of a commit alone does not tell when it is replayed.

use anyhow::{Context, Result};
use homing_testbed::Postgres;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::order::{INSERT, Work};
use super::stage::{Away, Home};
use crate::output::table::{Table, milliseconds};
use crate::run::Run;

/// Measures the waits of commits and of calls that wrote nothing, against the time that the replica takes by itself.
pub(super) async fn measure(run: &mut Run, home: &Home, near: &mut Away) -> Result<()> {
    let count = run.repetitions(1_000, 100);
    run.console.heading(&format!("{count} inserts from a replica region, while a transaction inserts in bulk"));
    let bulk = Bulk::begin(&home.primary).await?;
    let works = [Work::DriverReplay, INSERT, Work::UpdateNothing];
    let [replay, insert, unchanged] = near.node.turns(works, count).await?;
    bulk.roll_back().await?;
    let mut table = Table::new(&["", "p50", "p99", "max"]);
    for (what, samples) in [
        ("replay of an INSERT by the driver alone", &replay.total),
        ("replay_wait of an insert", &insert.replay_wait),
        ("replay_wait of an update that matches no row", &unchanged.replay_wait),
    ] {
        let times = [samples.p50(), samples.p99(), samples.max()].map(milliseconds);
        table.row([what.to_owned()].into_iter().chain(times));
    }
    run.findings.figure("bulk.wait_p99_ms", insert.replay_wait.p99());
    run.findings.figure("bulk.replay_p99_ms", replay.total.p99());
    let later = insert.replay_wait.p99() - replay.total.p99();
    run.bar("bulk.wait_after_replay_p99_ms", later, later <= MAX_LATER_MS, &format!("at most {MAX_LATER_MS}"));
    let waiting = unchanged.replay_wait.above(0.0) as f64;
    run.bar("bulk.unchanged_that_wait", waiting, waiting == 0.0, "none");
    run.show(&table, &[]);
    Ok(())
}

/// A transaction that inserts in bulk until it is told to stop.
pub(super) struct Bulk {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Client>>,
}

impl Bulk {
    pub(super) async fn begin(primary: &Postgres) -> Result<Self> {
        let client = primary.connect().await?;
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

    pub(super) async fn roll_back(self) -> Result<()> {
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
