//! [`Replays`], which looks for the true moment of each replay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use homing::position::Lsn;
use tokio::time::Instant;
use tokio_postgres::{Config, NoTls};

use crate::output::samples::Samples;

/// A thread that asks the node's database again and again how far it has replayed.
pub(super) struct Replays {
    is_ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<(Lsn, Instant)>>>,
}

/// When which place was replayed.
pub(super) struct Replayed(Vec<(Lsn, Instant)>);

impl Replays {
    pub(super) fn follow(database: Config) -> Result<Self> {
        let is_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_ended);
        // A runtime of its own, so that the callers' tasks do not delay it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = spawn(move || runtime.block_on(follow(&database, &ended)));
        Ok(Self { is_ended, thread })
    }

    pub(super) fn end(self) -> Result<Replayed> {
        self.is_ended.store(true, Ordering::Relaxed);
        let replayed = self.thread.join().map_err(|_| anyhow!("the thread that follows the replays panicked"))?;
        Ok(Replayed(replayed?))
    }
}

impl Replayed {
    /// Returns how many milliseconds after the replay each wait ended.
    pub(super) fn added(&self, ends: impl IntoIterator<Item = (Lsn, Instant)>) -> Result<Samples> {
        let added = ends.into_iter().map(|(place, ended)| {
            let first = self.0.partition_point(|(replayed, _)| *replayed < place);
            let (_, replayed) = self.0.get(first).context("a wait ended before its replay was seen")?;
            Ok(ended.saturating_duration_since(*replayed).as_secs_f64() * 1_000.0)
        });
        added.collect()
    }
}

async fn follow(database: &Config, is_ended: &AtomicBool) -> Result<Vec<(Lsn, Instant)>> {
    let (client, connection) = database.connect(NoTls).await?;
    tokio::spawn(connection);
    let ask = client.prepare("select pg_last_wal_replay_lsn()").await?;
    let mut replayed: Vec<(Lsn, Instant)> = Vec::new();
    // The last round begins after the end, so that it sees what all callers have seen.
    loop {
        let is_last = is_ended.load(Ordering::Relaxed);
        let asked = Instant::now();
        let place = client.query_one(&ask, &[]).await?.try_get(0)?;
        if replayed.last().is_none_or(|(last, _)| *last < place) {
            // The server looked between the question and the answer.
            replayed.push((place, asked + asked.elapsed() / 2));
        }
        if is_last {
            return Ok(replayed);
        }
        sleep(BREATH);
    }
}

/// Leaves the processor to those who are measured, and is as exact as the figures have to be.
const BREATH: Duration = Duration::from_micros(50);
