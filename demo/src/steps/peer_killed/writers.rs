//! Clients that write while something happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::scene::Scene;
use crate::scene::directory::{Directory, Outcome};

/// One insert.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) name: String,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) outcome: Outcome,
}

/// Tasks that insert, one call after the other.
pub(super) struct Writers {
    pub(super) attempts: Vec<Attempt>,
    /// An error means that a node does not answer.
    results: mpsc::Receiver<Result<Attempt>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    pub(super) async fn start(scene: &Scene, region: &str, prefix: &'static str) -> Result<Self> {
        let (sender, results) = mpsc::channel(WRITERS);
        let stop = Arc::new(AtomicBool::new(false));
        for writer in 0..WRITERS {
            let directory = scene.directory(region).await?;
            tokio::spawn(write(format!("{prefix}{writer}-"), directory, sender.clone(), Arc::clone(&stop)));
        }
        Ok(Self { attempts: Vec::new(), results, stop })
    }

    /// Waits until `enough` holds for the calls that have ended.
    pub(super) async fn wait_until(&mut self, enough: impl Fn(&[Attempt]) -> bool) -> Result<()> {
        let limit = Instant::now() + WRITE_LIMIT;
        while !enough(&self.attempts) {
            let result = timeout_at(limit, self.results.recv()).await;
            let result = result.with_context(|| format!("not within {WRITE_LIMIT:?}"))?;
            self.attempts.push(result.context("the writers have stopped")??);
        }
        Ok(())
    }

    pub(super) fn last_peer(&self) -> Result<String> {
        let peer = self.attempts.iter().rev().find_map(Attempt::peer);
        peer.map(ToOwned::to_owned).context("no call was answered")
    }

    pub(super) async fn stop(mut self) -> Result<Vec<Attempt>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(result) = self.results.recv().await {
            self.attempts.push(result?);
        }
        Ok(self.attempts)
    }
}

async fn write(
    prefix: String,
    mut directory: Directory,
    results: mpsc::Sender<Result<Attempt>>,
    stop: Arc<AtomicBool>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{prefix}{number}");
        let started = Instant::now();
        let outcome = directory.try_insert(&name, 1).await;
        let attempt = outcome.map(|outcome| Attempt { name, started, ended: Instant::now(), outcome });
        if results.send(attempt).await.is_err() {
            return;
        }
    }
}

impl Attempt {
    pub(super) fn peer(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Done(done) => Some(&done.report.answered_by),
            Outcome::Failed { .. } => None,
        }
    }
}

pub(super) const WRITERS: usize = 4;

const WRITE_LIMIT: Duration = Duration::from_secs(30);
