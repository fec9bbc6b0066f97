//! Limits how many requests are served at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::error::reason::Reason;

/// Admits requests while there is room. While the server drains, it admits no calls.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: Arc<Semaphore>,
    max_calls: u32,
    /// Requests that observe the server (health, reflection, `Describe`) have separate room, so that they work on a
    /// server that is full of calls.
    others: Arc<Semaphore>,
    draining: AtomicBool,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// Work: a call of a function or of an added service.
    Call,
    /// An observation of the server itself.
    Other,
}

/// Held while a request is served.
pub(crate) type Permit = OwnedSemaphorePermit;

impl Admission {
    pub(crate) fn new(max_calls: u32) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(max_calls as usize)),
            max_calls,
            others: Arc::new(Semaphore::new(MAX_OTHERS)),
            draining: AtomicBool::new(false),
        }
    }

    /// Admits a request, or returns at once the status with the reason why not.
    pub(crate) fn enter(&self, kind: RequestKind) -> Result<Permit, Status> {
        let room = match kind {
            RequestKind::Call => &self.calls,
            RequestKind::Other => &self.others,
        };
        let permit = Arc::clone(room).try_acquire_owned();
        // Checked after taking the permit, so that `idle` waits for a request that is admitted while draining begins.
        // Checked before reporting a missing permit, because `idle` takes the permits of requests that have ended.
        if kind == RequestKind::Call && self.draining.load(Ordering::SeqCst) {
            return Err(Reason::Draining.status("this node is shutting down; call another one"));
        }
        permit.map_err(|_| self.full(kind))
    }

    /// Refuses all calls from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Waits until no call is in flight. To be used after [`drain`](Self::drain).
    pub(crate) async fn idle(&self) {
        // An error would mean that the semaphore is closed, which never happens.
        let _ = self.calls.acquire_many(self.max_calls).await;
    }

    /// Returns how many calls are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.max_calls as usize - self.calls.available_permits()
    }

    fn full(&self, kind: RequestKind) -> Status {
        let limit = match kind {
            RequestKind::Call => self.max_calls as usize,
            RequestKind::Other => MAX_OTHERS,
        };
        Reason::Overloaded.status_retry_after(
            format!("this node already serves {limit} requests, its limit; try again later"),
            RETRY_AFTER,
        )
    }
}

/// How many requests for health, reflection and `Describe` are served at the same time; further ones are refused with
/// [`Reason::Overloaded`]. Each peer keeps one open.
const MAX_OTHERS: usize = 4096;

/// The hint for callers when to try again: about the time in which some of the calls in flight end.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn full_admission_answers_overloaded() {
        let admission = Admission::new(2);
        let permits = [admission.enter(RequestKind::Call).unwrap(), admission.enter(RequestKind::Call).unwrap()];
        let status = admission.enter(RequestKind::Call).unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::Overloaded));
        assert_eq!(Reason::retry_after(&status), Some(RETRY_AFTER));
        assert_eq!(admission.in_flight(), 2);
        assert!(admission.enter(RequestKind::Other).is_ok());
        drop(permits);
        assert!(admission.enter(RequestKind::Call).is_ok());
    }

    #[test]
    fn draining_waits_and_admits_no_calls() {
        let admission = Admission::new(2);
        let permit = admission.enter(RequestKind::Call).unwrap();
        admission.drain();
        assert_eq!(Reason::of(&admission.enter(RequestKind::Call).unwrap_err()), Some(Reason::Draining));
        assert!(admission.enter(RequestKind::Other).is_ok());
        let mut idle = Box::pin(admission.idle());
        assert!(idle.as_mut().now_or_never().is_none());
        assert_eq!(Reason::of(&admission.enter(RequestKind::Call).unwrap_err()), Some(Reason::Draining));
        drop(permit);
        assert!(idle.now_or_never().is_some());
    }
}
