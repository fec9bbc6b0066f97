use std::sync::{Arc, OnceLock};

use homing_postgres::{Repo, TransactionOptions, WeakRepo};
use homing_rpc::{CallContext, Closure, FromArguments, FunctionError, IntoArguments, Reason, Registry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{Context, Result};

/// A named function that runs in the primary region. Implemented by [`#[homing::remote]`](macro@crate::remote).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a remote function",
    label = "not a remote function",
    note = "write `#[homing::remote]` above the function, and name it here without calling it"
)]
pub trait Remote: Send + Sync + 'static {
    /// The name on the wire.
    const NAME: &'static str;

    /// Whether running it twice does no more than running it once: then a call whose answer was lost is repeated.
    const IDEMPOTENT: bool = false;

    /// Whether it runs inside one transaction, which its context's `Repo` stands for.
    const TRANSACTIONAL: bool = false;

    /// The parameters after the context, as a tuple.
    type Arguments: FromArguments + IntoArguments + Send + 'static;

    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Runs it.
    ///
    /// # Errors
    ///
    /// Those of the function.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the caller's deadline.
    fn run(context: Context, arguments: Self::Arguments) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// The repository of a node that is about to start. Weak: the node's functions must not keep the node alive.
pub(crate) type Slot = Arc<OnceLock<WeakRepo>>;

/// Adds a function to what the node offers.
pub(crate) fn register<T: Remote>(registry: &mut Registry, slot: &Slot) -> homing_rpc::Result<()> {
    let slot = Arc::clone(slot);
    let run = move |call: CallContext, arguments: T::Arguments| {
        let repo = slot.get().and_then(WeakRepo::upgrade);
        async move {
            let Some(repo) = repo else {
                return Err(FunctionError::new("the node is not running"));
            };
            // Another node at home may know the caller's database, during a deployment that adds it.
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

/// The function may take all of its caller's time, between two statements as well.
async fn run_in_transaction<T: Remote>(repo: &Repo, call: CallContext, arguments: T::Arguments) -> Result<T::Output> {
    let left = call.deadline().saturating_duration_since(Instant::now());
    let options = TransactionOptions::default().with_time_limit(left).with_idle_timeout(left);
    repo.transaction_with(options, |tx| T::run(Context::new(tx, call), arguments)).await
}
