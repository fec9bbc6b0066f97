use homing_postgres::Repo;
use homing_rpc::{CallContext, Region, TraceContext};
use tokio::time::Instant;

/// The call that a remote function runs for: its database, its caller, its deadline.
#[derive(Clone, Debug)]
pub struct Context {
    repo: Repo,
    call: CallContext,
}

impl Context {
    pub(crate) fn new(repo: Repo, call: CallContext) -> Self {
        Self { repo, call }
    }

    /// Returns a handle to the database and the schema that the caller's handle is for. [`Repo::with_database`] leads to
    /// the other databases of the node.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Returns the region of the caller.
    pub fn caller(&self) -> &Region {
        self.call.caller()
    }

    /// Returns the time at which the caller gives up. The function is dropped then.
    pub fn deadline(&self) -> Instant {
        self.call.deadline()
    }

    /// Returns the W3C trace context of the call. Calls that the function makes continue the trace.
    pub fn trace(&self) -> &TraceContext {
        self.call.trace()
    }

    /// Waits until the caller has gone away.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.call.cancelled().await;
    }
}
