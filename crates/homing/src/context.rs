use homing_postgres::Repo;
use homing_rpc::{CallContext, Region, TraceContext};
use tokio::time::Instant;

/// What a remote function knows besides its arguments.
#[derive(Clone, Debug)]
pub struct Context {
    repo: Repo,
    call: CallContext,
}

impl Context {
    pub(crate) fn new(repo: Repo, call: CallContext) -> Self {
        Self { repo, call }
    }

    /// The database, next to this function: the one of the caller's handle, and its schema. The node's others are
    /// reached by [`Repo::with_database`].
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The region of the caller.
    pub fn caller(&self) -> &Region {
        self.call.caller()
    }

    /// When the caller gives up; the function is dropped then.
    pub fn deadline(&self) -> Instant {
        self.call.deadline()
    }

    /// The W3C trace that the call belongs to. Calls that the function makes continue it.
    pub fn trace(&self) -> &TraceContext {
        self.call.trace()
    }

    /// Completes when the caller has gone away.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.call.cancelled().await;
    }
}
