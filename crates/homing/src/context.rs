use homing_postgres::{Repo, Result};
use homing_rpc::{CallContext, Region, TraceContext};
use tokio::time::Instant;

use crate::state::State;

/// The call that a remote function runs for: its database, its caller, its deadline, and the
/// state of the application.
#[derive(Clone, Debug)]
pub struct Context {
    repo: Repo,
    call: CallContext,
    state: State,
}

impl Context {
    pub(crate) fn new(repo: Repo, call: CallContext, state: State) -> Self {
        Self { repo, call, state }
    }

    /// Returns a handle to the database and the schema that the caller's handle is for. [`Repo::with_database`] leads to
    /// the other databases of the node.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Returns the value of this type that [`NodeBuilder::with_state`](crate::NodeBuilder::with_state) gave to the node that
    /// runs the function: a client of another service, a cache, settings.
    ///
    /// # Errors
    ///
    /// [`is_function_failed`](homing_postgres::Error::is_function_failed) if the node has no value of this type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.state.get()
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
