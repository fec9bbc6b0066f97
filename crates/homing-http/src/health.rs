//! [`Health`], whether this node is fit to answer requests.

mod probe;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing::database::Role;
use homing::position::Position;
use homing::{Region, Repo};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde::{Serialize, Serializer};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tower_service::Service;

use self::probe::{Lag, Look};
use crate::metering::{self, Seen};

/// Whether this node is fit to answer requests: for the health checks of proxies and orchestrators.
///
/// A service for any path: with axum `.route_service("/healthz", Health::new(&repo))`. The answer is 200 or 503, with a
/// [`HealthReport`] as JSON. Behind it is one look at the database here and one question to the primary, on the way that
/// writes take, at most once a second, however many ask; none while nobody does. That takes up to two seconds where
/// somebody does not answer, so let whoever asks wait for three.
///
/// | here | answer |
/// |---|---|
/// | a primary | 200 |
/// | a replica within the limits | 200 |
/// | a replica that lags more than [`with_max_lag`](Self::with_max_lag) | 503 |
/// | no replica, or one that does not answer, and a primary that can be reached | 200: it answers the reads |
/// | neither | 503 |
/// | no primary that can be reached | as above; 503 with [`with_primary_required`](Self::with_primary_required) |
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
    limits: Limits,
}

/// What is seen of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// In a word.
    pub status: Status,

    /// The region of this node.
    #[serde(serialize_with = "display")]
    pub region: Region,

    /// The region to which writes are forwarded.
    #[serde(serialize_with = "display")]
    pub primary_region: Region,

    /// What the database here is; `None` where there is none, or it does not answer.
    #[serde(serialize_with = "display_option")]
    pub role: Option<Role>,

    /// How far it is.
    #[serde(serialize_with = "display_option")]
    pub position: Option<Position>,

    /// How far it is behind: zero on a primary. `None` where that is not known. In JSON `lag_seconds`, a number.
    #[serde(rename = "lag_seconds", serialize_with = "seconds")]
    pub lag: Option<Duration>,

    /// Whether the primary can be reached from here.
    pub primary_reachable: bool,

    /// What is not as it should be, for people.
    pub reasons: Vec<String>,
}

/// A node's health in a word.
///
/// Closed: these are the answers to whether requests may be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,

    /// Something is missing, and requests are answered all the same: with 200.
    Degraded,

    /// Requests had better go elsewhere: 503.
    Unavailable,
}

#[derive(Debug)]
struct Shared {
    repo: Repo,
    // Held while somebody looks, so that all others wait for the same look. It is bounded in time.
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    look: Option<(Instant, Look)>,
    lag: Lag,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_lag: Duration,
    primary_required: bool,
}

impl Health {
    /// The health of the node of this handle. Its clones share their looks.
    pub fn new(repo: &Repo) -> Self {
        let shared = Shared { repo: repo.session(), last: Arc::default() };
        Self { shared: Arc::new(shared), limits: Limits { max_lag: MAX_LAG, primary_required: false } }
    }

    /// How far the replica may lag. Default: 60 s. Keep it below the life of the [`Cookie`](crate::Cookie).
    #[must_use]
    pub fn with_max_lag(mut self, max_lag: Duration) -> Self {
        self.limits.max_lag = max_lag;
        self
    }

    /// Asks for a primary that can be reached. Not the default: a primary that is down would take all regions out, which
    /// could go on answering reads.
    #[must_use]
    pub fn with_primary_required(mut self) -> Self {
        self.limits.primary_required = true;
        self
    }

    /// Looks, or takes what was seen within the last second.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a look that was begun is finished, for those who ask next.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn check(&self) -> HealthReport {
        let repo = &self.shared.repo;
        let last = Arc::clone(&self.shared.last).lock_owned().await;
        let look = match last.look {
            Some((at, look)) if at.elapsed() < INTERVAL => look,
            _ => match tokio::spawn(look(repo.clone(), last)).await {
                Ok(look) => look,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends.
                    Err(_) => Look::default(),
                },
            },
        };
        let report = self.limits.judge(repo, look);
        metering::health(Seen {
            is_primary: report.role == Some(Role::Primary),
            lag: report.lag,
            primary_reachable: report.primary_reachable,
            is_healthy: report.status != Status::Unavailable,
        });
        report
    }
}

/// Looks, in a task of its own: who asks may have less patience than a look takes, and would never have an answer.
async fn look(repo: Repo, mut last: OwnedMutexGuard<Last>) -> Look {
    let mut look = Look::at(&repo).await;
    let now = Instant::now();
    look.lag = last.lag.learn(&look, now);
    last.look = Some((now, look));
    look
}

impl HealthReport {
    /// 200 or 503.
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
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let health = self.clone();
        Box::pin(async move {
            let report = health.check().await;
            let json = serde_json::to_string(&report).expect("a report is JSON");
            let mut response = Response::new(json);
            *response.status_mut() = report.status_code();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        })
    }
}

impl Limits {
    fn judge(&self, repo: &Repo, look: Look) -> HealthReport {
        let mut reasons = Vec::new();
        let mut status = Status::Ok;
        let mut note = |worse: Status, reason: String| {
            if status != Status::Unavailable {
                status = worse;
            }
            reasons.push(reason);
        };
        if !look.primary_reachable {
            let required = self.primary_required || look.role.is_none();
            let worse = if required { Status::Unavailable } else { Status::Degraded };
            note(worse, format!("no primary can be reached in {}", repo.primary_region()));
        }
        if look.role.is_none() && !repo.replicas().status().is_empty() {
            note(Status::Degraded, "the database here does not answer".to_owned());
        }
        if let Some(lag) = look.lag.filter(|lag| *lag > self.max_lag) {
            let (lag, most) = (lag.as_secs_f64(), self.max_lag.as_secs_f64());
            note(Status::Unavailable, format!("the replica here is {lag:.1} s behind, and may be {most:.1} s"));
        }
        HealthReport {
            status,
            region: repo.region().clone(),
            primary_region: repo.primary_region().clone(),
            role: look.role,
            position: look.position,
            lag: look.lag,
            primary_reachable: look.primary_reachable,
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

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

/// How old an answer may be: health checks come every few seconds, and from many.
const INTERVAL: Duration = Duration::from_secs(1);

/// A replica that is a minute behind has a trouble that does not pass by itself.
const MAX_LAG: Duration = Duration::from_secs(60);
