//! How many requests are served at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::error::reason::Reason;

/// Lets requests in while there is room, and none of them while the server drains.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: Arc<Semaphore>,
    max_calls: u32,
    /// What keeps the server under observation (health, reflection, `Describe`) has room of its own: it works also
    /// when there is no room for calls.
    others: Arc<Semaphore>,
    draining: AtomicBool,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// Work.
    Call,
    /// About the server itself.
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

    /// Lets a request in, or says at once why not.
    pub(crate) fn enter(&self, kind: RequestKind) -> Result<Permit, Status> {
        let room = match kind {
            RequestKind::Call => &self.calls,
            RequestKind::Other => &self.others,
        };
        let permit = Arc::clone(room).try_acquire_owned();
        // After the permit, so that a request which is in when draining begins is waited for; before its absence, since
        // waiting for all to leave takes the places of those who left.
        if kind == RequestKind::Call && self.draining.load(Ordering::SeqCst) {
            return Err(Reason::Draining.status("this node is shutting down; ask another one"));
        }
        permit.map_err(|_| self.full(kind))
    }

    /// From now on no call is let in.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Completes when no call is in. To be asked after [`drain`](Self::drain).
    pub(crate) async fn idle(&self) {
        // An error means that the semaphore is closed, which it never is.
        let _ = self.calls.acquire_many(self.max_calls).await;
    }

    /// How many calls are in.
    pub(crate) fn in_flight(&self) -> usize {
        self.max_calls as usize - self.calls.available_permits()
    }

    fn full(&self, kind: RequestKind) -> Status {
        let most = match kind {
            RequestKind::Call => self.max_calls as usize,
            RequestKind::Other => MAX_OTHERS,
        };
        Reason::Overloaded.status_retry_after(format!("all {most} places are taken; try again later"), RETRY_AFTER)
    }
}

/// Each peer that talks to this node keeps one open.
const MAX_OTHERS: usize = 4096;

/// What a caller is told: about the time in which some of the calls in flight end.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn over_the_bound_the_answer_is_overloaded_at_once_with_a_hint() {
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
    fn while_it_drains_no_call_is_let_in_and_those_inside_are_waited_for() {
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
