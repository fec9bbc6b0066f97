use std::sync::{Arc, OnceLock};

use homing_postgres::{Repo, Result, TransactionOptions, WeakRepo};
use homing_rpc::{CallContext, Closure, FromArguments, FunctionError, IntoArguments, Reason, Registry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::context::Context;

/// A named function that runs in the primary region. [`#[homing::remote]`](macro@crate::remote) implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a remote function",
    label = "not a remote function",
    note = "write `#[homing::remote]` above the function, and name it here without calling it"
)]
pub trait Remote: Send + Sync + 'static {
    /// The name of the function on the wire.
    const NAME: &'static str;

    /// Whether running the function twice has the same effect as running it once. If so, a call is repeated when its
    /// answer is lost.
    const IDEMPOTENT: bool = false;

    /// Whether the function runs inside one transaction, whose handle is [`Context::repo`].
    const TRANSACTIONAL: bool = false;

    /// The parameters after the context, as a tuple.
    type Arguments: FromArguments + IntoArguments + Send + 'static;

    /// The type of the result.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Runs the function.
    ///
    /// # Errors
    ///
    /// The error that the function returns. Its caller gets it as
    /// [`is_function_failed`](homing_postgres::Error::is_function_failed).
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the caller's deadline.
    fn run(context: Context, arguments: Self::Arguments) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// The handle that the node's functions use; set when the node starts. Weak: the functions must not keep the node alive.
pub(crate) type Slot = Arc<OnceLock<WeakRepo>>;

/// Adds a function to the registry of the node.
pub(crate) fn register<T: Remote>(registry: &mut Registry, slot: &Slot) -> homing_rpc::Result<()> {
    let slot = Arc::clone(slot);
    let run = move |call: CallContext, arguments: T::Arguments| {
        let repo = slot.get().and_then(WeakRepo::upgrade);
        async move {
            let Some(repo) = repo else {
                return Err(FunctionError::new("the node is not running"));
            };
            // During a deployment that adds a database, another node of this region may know it already.
            let repo = repo.in_scope(call.scope());
            let repo = repo.map_err(|error| FunctionError::refused(Reason::UnknownDatabase, error.to_string()))?;
            let ran = if T::TRANSACTIONAL {
                run_in_transaction::<T>(&repo, call, arguments).await
            } else {
                T::run(Context::new(repo, call), arguments).await
            };
            ran.map_err(FunctionError::from)
        }
    };
    let function = Closure::new(T::NAME, run);
    registry.register(if T::IDEMPOTENT { function.idempotent() } else { function })
}

/// Runs the function in a transaction, which may take all the time until the caller's deadline, idle time included.
async fn run_in_transaction<T: Remote>(repo: &Repo, call: CallContext, arguments: T::Arguments) -> Result<T::Output> {
    let left = call.deadline().saturating_duration_since(Instant::now());
    let options = TransactionOptions::default().with_time_limit(left).with_idle_timeout(left);
    repo.transaction_with(options, |tx| T::run(Context::new(tx, call), arguments)).await
}
