//! Who calls a function, and until when.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metadata::trace::TraceContext;
use crate::region::Region;

/// Who calls a function, and until when.
#[derive(Clone, Debug)]
pub struct CallContext {
    caller: Region,
    deadline: Instant,
    trace: TraceContext,
    scope: Arc<str>,
    /// Closed when nobody waits for the answer any more.
    awaited: watch::Receiver<()>,
}

impl CallContext {
    /// The region of the caller.
    pub fn caller(&self) -> &Region {
        &self.caller
    }

    /// When the caller gives up. The function's future is dropped then.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The trace that the call belongs to.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// What the caller wants the function to be about, in words that this crate does not know; empty for nothing in
    /// particular. See [`Rpc::call_in`](crate::Rpc::call_in).
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Completes when the caller has gone away, or has its answer: what is done from then on is for nobody.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        let mut awaited = self.awaited.clone();
        while awaited.changed().await.is_ok() {}
    }

    /// Whether [`cancelled`](Self::cancelled) would complete at once.
    pub fn is_cancelled(&self) -> bool {
        self.awaited.has_changed().is_err()
    }

    /// A context and what keeps it from being cancelled.
    pub(crate) fn new(caller: Region, deadline: Instant, trace: TraceContext) -> (Self, Awaiting) {
        let (awaiting, awaited) = watch::channel(());
        (Self { caller, deadline, trace, scope: "".into(), awaited }, Awaiting { _sender: awaiting })
    }

    pub(crate) fn with_scope(self, scope: String) -> Self {
        Self { scope: scope.into(), ..self }
    }
}

/// Held by whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Awaiting {
    _sender: watch::Sender<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_cancelled_when_nobody_waits_any_more() {
        let (context, awaiting) = CallContext::new(Region::local(), Instant::now(), TraceContext::root());
        assert!(!context.is_cancelled());
        drop(awaiting);
        assert!(context.is_cancelled());
        context.cancelled().await;
    }
}
