//! The two extensions of a request: [`RequestRepo`] and [`RequestInfo`].

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homing::report::Report;
use homing::{Fate, Region, Repo};

/// The database, with the session of this request.
///
/// It sees the writes of earlier requests from the same browser, on any node, and later requests see its writes.
///
/// With axum it is an extractor; elsewhere use `request.extensions().get::<RequestRepo>()`. A token has the calls
/// through this handle and its clones before the handler returns the head of its response. It does not have later
/// writes, those of a streamed body, a WebSocket or a spawned task.
///
/// Closed: handlers take it apart in their parameters.
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

/// Facts about a request: its regions, its token, its calls.
///
/// With axum it is an extractor; elsewhere use `request.extensions().get::<RequestInfo>()`.
#[derive(Clone, Debug)]
pub struct RequestInfo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    region: Region,
    primary_region: Region,
    token: TokenState,
    replayed_from: Option<String>,
    /// Locked to add a report, or to copy them.
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    reports: Vec<Report>,
    count: usize,
    written: bool,
}

/// The state of a request's token.
///
/// Closed: a request has no token, a valid one, or invalid ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The request had no token.
    Absent,

    /// It had at least one valid token.
    Taken,

    /// It had tokens, but all of them were invalid: forged, or from another deployment. It is handled without a token.
    Refused,
}

impl TokenState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Taken => "taken",
            Self::Refused => "refused",
        }
    }
}

impl RequestInfo {
    pub(crate) fn new(repo: &Repo, token: TokenState, replayed_from: Option<String>) -> Self {
        Self(Arc::new(Inner {
            region: repo.region().clone(),
            primary_region: repo.current_primary_region(),
            token,
            replayed_from,
            calls: Mutex::default(),
        }))
    }

    /// Returns the region of the node that handles this request.
    pub fn region(&self) -> &Region {
        &self.0.region
    }

    /// Returns the region to which writes are forwarded.
    pub fn primary_region(&self) -> &Region {
        &self.0.primary_region
    }

    /// Returns whether the request came with a token.
    pub fn token(&self) -> TokenState {
        self.0.token
    }

    /// Returns the header `fly-replay-src` of a request that was replayed from elsewhere, cut to 256 characters. A client
    /// can forge it.
    pub fn replayed_from(&self) -> Option<&str> {
        self.0.replayed_from.as_deref()
    }

    /// Returns the reports of this request's calls so far, including failed calls. It keeps the first 64 reports.
    pub fn reports(&self) -> Vec<Report> {
        self.calls().reports.clone()
    }

    /// Returns how many calls of this request have been answered or have failed so far.
    pub fn call_count(&self) -> usize {
        self.calls().count
    }

    /// Returns whether a call of this request has committed a write, or may have.
    pub(crate) fn has_written(&self) -> bool {
        self.calls().written
    }

    pub(crate) fn record(&self, report: &Report) {
        let mut calls = self.calls();
        calls.count += 1;
        calls.written |= report.wrote || report.fate.is_some_and(Fate::may_have_written);
        if calls.reports.len() < MAX_REPORTS {
            calls.reports.push(report.clone());
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than a page shows. A request with ten thousand calls must not keep all of their reports; later ones are only
/// counted.
const MAX_REPORTS: usize = 64;
