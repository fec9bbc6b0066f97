//! What a handler can have of its request: [`RequestRepo`] and [`RequestInfo`].

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homing::report::Report;
use homing::{Fate, Region, Repo};

/// The database, with the session of this request: it sees what the same browser wrote in earlier requests, on
/// whatever node, and what it writes is seen by later ones.
///
/// An extractor with axum; elsewhere `request.extensions().get::<RequestRepo>()`. Only calls through this handle and
/// its clones count, and only those made before the head of the response is returned: what the body of a streamed
/// response, a WebSocket or a spawned task writes later is in no token.
#[derive(Clone, Debug)]
pub struct RequestRepo(
    /// The handle.
    pub Repo,
);

impl Deref for RequestRepo {
    type Target = Repo;

    fn deref(&self) -> &Repo {
        &self.0
    }
}

/// What the layer knows of a request.
///
/// An extractor with axum; elsewhere `request.extensions().get::<RequestInfo>()`.
#[derive(Clone, Debug)]
pub struct RequestInfo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    region: Region,
    primary_region: Region,
    token: TokenState,
    replayed_from: Option<String>,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    reports: Vec<Report>,
    count: usize,
    written: bool,
}

/// What became of the token of a request.
///
/// Closed: whoever counts them counts all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The request had none.
    Absent,

    /// It had one, which holds.
    Taken,

    /// It had some, and none of them holds: forged, or of another deployment. The request goes on as without one.
    Refused,
}

impl RequestInfo {
    pub(crate) fn new(repo: &Repo, token: TokenState, replayed_from: Option<String>) -> Self {
        Self(Arc::new(Inner {
            region: repo.region().clone(),
            primary_region: repo.primary_region().clone(),
            token,
            replayed_from,
            calls: Mutex::default(),
        }))
    }

    /// The region of the node that answers this request.
    pub fn region(&self) -> &Region {
        &self.0.region
    }

    /// The region to which writes are forwarded.
    pub fn primary_region(&self) -> &Region {
        &self.0.primary_region
    }

    /// Whether the request came with a token.
    pub fn token(&self) -> TokenState {
        self.0.token
    }

    /// `fly-replay-src`, as the proxy sent it, if the request was replayed from elsewhere. A client can make it up.
    pub fn replayed_from(&self) -> Option<&str> {
        self.0.replayed_from.as_deref()
    }

    /// How the calls of this request went so far, those that failed included: the first 64 of them.
    pub fn reports(&self) -> Vec<Report> {
        self.calls().reports.clone()
    }

    /// How many calls of this request were answered or failed so far.
    pub fn call_count(&self) -> usize {
        self.calls().count
    }

    /// Whether a call of this request has committed something, or may have.
    pub(crate) fn has_written(&self) -> bool {
        self.calls().written
    }

    pub(crate) fn record(&self, report: &Report) {
        let mut calls = self.calls();
        calls.count += 1;
        calls.written |= report.position.is_some() || report.fate.is_some_and(Fate::may_have_written);
        if calls.reports.len() < MOST_REPORTS {
            calls.reports.push(report.clone());
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than a page shows; a request that makes ten thousand calls must not keep them all.
const MOST_REPORTS: usize = 64;
