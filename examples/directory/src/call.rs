use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use homing::Repo;
use homing::report::{AnsweredBy, Report};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

/// A request's handle to the database, with the limits that the request asks for and a record of its calls. It shares the
/// application's session: whatever was written through this node is seen in reads through this node.
pub(crate) struct Call {
    pub(crate) repo: Repo,
    reports: Arc<Mutex<Vec<Report>>>,
    started: Instant,
}

/// What a request may ask for. Defaults: the application's.
#[derive(Debug, Deserialize)]
struct Wishes {
    /// `?replay_timeout_ms=500`: how long the local replica may take to replay the write.
    replay_timeout_ms: Option<u64>,
}

impl Call {
    /// Returns the reply `value` with the times of the calls under `report`, summed over all of them.
    pub(crate) fn reply(&self, mut value: Value) -> Value {
        let total = self.started.elapsed();
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |stage: fn(&Report) -> Duration| milliseconds(reports.iter().map(stage).sum());
        value["report"] = json!({
            "calls": reports.len(),
            "answered_by": reports.last().map(answered_by),
            "attempts": reports.iter().map(|report| report.attempts).sum::<u32>(),
            "route_ms": sum(|report| report.stages.route),
            "forward_ms": sum(|report| report.stages.forward),
            "execute_ms": sum(|report| report.stages.execute),
            "replay_wait_ms": sum(|report| report.stages.replay_wait),
            "total_ms": milliseconds(total),
        });
        value
    }
}

impl FromRequestParts<Repo> for Call {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, repo: &Repo) -> Result<Self, QueryRejection> {
        let Query(wishes) = Query::<Wishes>::from_request_parts(parts, repo).await?;
        let mut repo = repo.clone();
        if let Some(limit) = wishes.replay_timeout_ms {
            repo = repo.with_replay_timeout(Duration::from_millis(limit));
        }
        let reports = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&reports);
        let repo = repo.with_observer(move |report| {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
        });
        Ok(Self { repo, reports, started: Instant::now() })
    }
}

/// Returns `here`, or the peer as `iad/10.0.0.1:4750`.
fn answered_by(report: &Report) -> String {
    match &report.answered_by {
        AnsweredBy::Peer(peer) => peer.to_string(),
        _ => "here".to_owned(),
    }
}

/// Rounds to a microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
