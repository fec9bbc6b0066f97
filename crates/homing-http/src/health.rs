//! [`Health`], whether this node is fit to answer requests.
//!
//! [`Health::check`] spawns a task for each probe and awaits it. The task owns the lock on the last result, so concurrent
//! checks wait for the same probe, and it finishes even if its caller gives up. It ends after at most 2 s, the limit of
//! both halves of a probe, and the next check begins a new one after a second at the earliest. A panic in the task goes
//! on in its caller.

mod probe;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing::database::Role;
use homing::position::Position;
use homing::{Region, Repo};
use http::{Request, Response, StatusCode};
use serde::{Serialize, Serializer};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tower_service::Service;

use self::probe::{Lag, Probe};
use crate::endpoint::{self, ResponseFuture};
use crate::metering::{self, Seen};

/// Whether this node is fit to answer requests: for the health checks of proxies and orchestrators.
///
/// It is a tower service for any path: with axum `.route_service("/healthz", Health::new(&repo))`. The response is 200 or
/// 503, with a [`HealthReport`] as JSON.
///
/// A check asks the local database, and the primary on the path that writes take. All checks within a second share one
/// probe, and nothing is probed without a check. A check takes up to two seconds if a database does not answer, so give
/// the proxy's check a limit of three seconds.
///
/// | local database | primary reached | status |
/// |---|---|---|
/// | primary | | 200 |
/// | replica, at most [`with_max_lag`](Self::with_max_lag) behind | yes | 200 |
/// | replica, at most [`with_max_lag`](Self::with_max_lag) behind | no | 200; 503 with [`with_primary_required`](Self::with_primary_required) |
/// | replica, further behind | | 503 |
/// | none, or one that does not answer | yes | 200: the primary answers the reads |
/// | none, or one that does not answer | no | 503 |
///
/// # Known limits
///
/// - A replica that is cut off from the primary does not notice it before its `wal_receiver_timeout`. The node notices it
///   earlier, but only while it reaches the primary in another way.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
    limits: Limits,
}

/// The result of a health check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The summary.
    pub status: Status,

    /// The region of this node.
    #[serde(serialize_with = "display")]
    pub region: Region,

    /// The region in which the primary is, as far as this node knows.
    #[serde(serialize_with = "display")]
    pub primary_region: Region,

    /// The role of the local database. `None` if the node has none, or if it does not answer.
    #[serde(serialize_with = "display_option")]
    pub role: Option<Role>,

    /// The position of the local database, if it answered. In JSON it is `timeline`, the number of its timeline alone: the response
    /// may be public, and a position would tell strangers how much is written.
    #[serde(rename = "timeline", serialize_with = "timeline")]
    pub position: Option<Position>,

    /// How far the local database is behind; zero on a primary. `None` if unknown. In JSON it is `lag_seconds`, a number.
    #[serde(rename = "lag_seconds", serialize_with = "seconds")]
    pub lag: Option<Duration>,

    /// Whether this node reaches the primary.
    pub primary_reachable: bool,

    /// The problems, as text for people.
    pub reasons: Vec<String>,
}

/// The summary of a node's health.
///
/// Closed: a proxy either sends requests to this node or does not, and a person wants to know about degraded nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,

    /// The node answers requests, but something is missing. The response is 200.
    Degraded,

    /// Requests should go to other nodes. The response is 503.
    Unavailable,
}

#[derive(Debug)]
struct Shared {
    repo: Repo,
    // Locked during a probe, which is bounded in time, so that all other checks wait for the same probe.
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    probe: Option<(Instant, Probe)>,
    lag: Lag,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_lag: Duration,
    primary_required: bool,
}

impl Health {
    /// Creates a check for the node of this handle. Its clones share their probes.
    pub fn new(repo: &Repo) -> Self {
        let shared = Shared { repo: repo.session(), last: Arc::default() };
        Self { shared: Arc::new(shared), limits: Limits { max_lag: DEFAULT_MAX_LAG, primary_required: false } }
    }

    /// Sets how far the replica may lag. Default: 60 s. Keep it below the maximum age of the
    /// [`Cookie`](crate::Cookie::with_max_age).
    #[must_use]
    pub fn with_max_lag(mut self, max_lag: Duration) -> Self {
        self.limits.max_lag = max_lag;
        self
    }

    /// Makes a node unavailable if it does not reach the primary. Not the default: with it, a primary that is down takes
    /// all regions out, although they could still answer reads.
    #[must_use]
    pub fn with_primary_required(mut self) -> Self {
        self.limits.primary_required = true;
        self
    }

    /// Probes the databases, or takes the result of a probe within the last second.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a probe that has begun still ends, and later checks use its result.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn check(&self) -> HealthReport {
        let repo = &self.shared.repo;
        let last = Arc::clone(&self.shared.last).lock_owned().await;
        let probe = match last.probe {
            Some((at, probe)) if at.elapsed() < INTERVAL => probe,
            _ => match tokio::spawn(probe(repo.clone(), last)).await {
                Ok(probe) => probe,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime shuts down.
                    Err(_) => Probe::default(),
                },
            },
        };
        let report = self.limits.judge(repo, probe);
        metering::health(Seen {
            is_primary: report.role == Some(Role::Primary),
            lag: report.lag,
            primary_reachable: report.primary_reachable,
            is_healthy: report.status != Status::Unavailable,
        });
        report
    }
}

/// Runs a probe and keeps its result. This is a task: a caller whose limit is shorter than a probe would otherwise never
/// get a result.
async fn probe(repo: Repo, mut last: OwnedMutexGuard<Last>) -> Probe {
    let mut probe = Probe::run(&repo).await;
    let now = Instant::now();
    probe.lag = last.lag.learn(&probe, now);
    last.probe = Some((now, probe));
    probe
}

impl HealthReport {
    /// Returns the status of the response: 200 or 503.
    pub fn status_code(&self) -> StatusCode {
        match self.status {
            Status::Ok | Status::Degraded => StatusCode::OK,
            Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl<Q> Service<Request<Q>> for Health {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let health = self.clone();
        Box::pin(async move {
            let report = health.check().await;
            let json = serde_json::to_string(&report).expect("a report is JSON");
            Ok(endpoint::uncached(report.status_code(), "application/json", json))
        })
    }
}

impl Limits {
    fn judge(&self, repo: &Repo, probe: Probe) -> HealthReport {
        let mut reasons = Vec::new();
        let mut status = Status::Ok;
        let mut note = |worse: Status, reason: String| {
            if status != Status::Unavailable {
                status = worse;
            }
            reasons.push(reason);
        };
        if !probe.primary_reachable {
            let required = self.primary_required || probe.role.is_none();
            let worse = if required { Status::Unavailable } else { Status::Degraded };
            note(worse, format!("the primary in {} cannot be reached", repo.current_primary_region()));
        }
        if probe.role.is_none() && !repo.replicas().status().is_empty() {
            note(Status::Degraded, "the local database does not answer".to_owned());
        }
        if repo.replicas().missing_primary().is_some() {
            // The log names the servers. This report may be public.
            note(Status::Degraded, "no database next to this node is the primary, as its settings say".to_owned());
        }
        if let Some(lag) = probe.lag.filter(|lag| *lag > self.max_lag) {
            let (lag, max) = (lag.as_secs_f64(), self.max_lag.as_secs_f64());
            note(Status::Unavailable, format!("the local replica is {lag:.1} s behind; the limit is {max:.1} s"));
        }
        HealthReport {
            status,
            region: repo.region().clone(),
            primary_region: repo.current_primary_region(),
            role: probe.role,
            position: probe.position,
            lag: probe.lag,
            primary_reachable: probe.primary_reachable,
            reasons,
        }
    }
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn display_option<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Leaves out the cluster and the place in its log.
fn timeline<S: Serializer>(position: &Option<Position>, serializer: S) -> Result<S::Ok, S::Error> {
    position.map(|position| u32::from(position.timeline)).serialize(serializer)
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

/// How old the result of a probe may be: several proxies check every few seconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// A replica that is a minute behind has a problem that does not go away by itself.
const DEFAULT_MAX_LAG: Duration = Duration::from_secs(60);
