//! The context of a call, as its function sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metadata::key::CallKey;
use crate::metadata::trace::TraceContext;
use crate::region::Region;

/// The context of a call: its caller, its deadline, its trace and its scope.
#[derive(Clone, Debug)]
pub struct CallContext {
    caller: Region,
    deadline: Instant,
    trace: TraceContext,
    scope: Arc<str>,
    key: Option<Arc<CallKey>>,
    /// Closed when the caller no longer waits for the answer.
    awaited: watch::Receiver<()>,
    unchanged: Arc<AtomicBool>,
}

impl CallContext {
    /// Returns the region of the caller.
    pub fn caller(&self) -> &Region {
        &self.caller
    }

    /// Returns the time at which the caller gives up. The function's future is dropped at that time.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the trace to which the call belongs.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// Returns the scope of the call, a text on which the application's nodes agree and which this crate does not
    /// interpret. Empty if the call has no scope. See [`Rpc::call_in`](crate::Rpc::call_in).
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Returns the key of the call, if its caller wants it to be applied once and the function [takes a
    /// key](crate::Function::takes_key).
    pub fn key(&self) -> Option<&CallKey> {
        self.key.as_deref()
    }

    /// Waits until the caller has gone away, or has its answer. Work after that point has no recipient.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        let mut awaited = self.awaited.clone();
        while awaited.changed().await.is_ok() {}
    }

    /// Returns whether [`cancelled`](Self::cancelled) would complete at once.
    pub fn is_cancelled(&self) -> bool {
        self.awaited.has_changed().is_err()
    }

    /// Notes that the function wrote nothing, so that its caller need not wait for replicas; see
    /// [`Called::unchanged`](crate::Called::unchanged). Call it when the function has ended.
    pub fn note_unchanged(&self) {
        self.unchanged.store(true, Ordering::Release);
    }

    /// Returns whether [`note_unchanged`](Self::note_unchanged) was called.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.unchanged.load(Ordering::Acquire)
    }

    /// Returns a context, and the guard that keeps it from being cancelled.
    pub(crate) fn new(caller: Region, deadline: Instant, trace: TraceContext) -> (Self, Awaiting) {
        let (awaiting, awaited) = watch::channel(());
        let unchanged = Arc::default();
        (
            Self { caller, deadline, trace, scope: "".into(), key: None, awaited, unchanged },
            Awaiting { _sender: awaiting },
        )
    }

    pub(crate) fn with_scope(self, scope: String) -> Self {
        Self { scope: scope.into(), ..self }
    }

    pub(crate) fn with_key(self, key: Option<CallKey>) -> Self {
        Self { key: key.map(Arc::new), ..self }
    }
}

/// Held while the caller waits for the answer; dropping it cancels the context.
#[derive(Debug)]
pub(crate) struct Awaiting {
    _sender: watch::Sender<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn call_is_cancelled_with_its_caller() {
        let (context, awaiting) = CallContext::new(Region::local(), Instant::now(), TraceContext::root());
        assert!(!context.is_cancelled());
        drop(awaiting);
        assert!(context.is_cancelled());
        context.cancelled().await;
    }
}
