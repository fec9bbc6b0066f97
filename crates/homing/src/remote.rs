use std::sync::{Arc, OnceLock};

use homing_postgres::{Error, Repo, Result, TransactionOptions, WeakRepo};
use homing_rpc::{CallContext, Closure, FromArguments, FunctionError, IntoArguments, Reason, Registry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout_at};

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
    /// [`is_function_failed`](homing_postgres::Error::is_function_failed), or as
    /// [`is_rejected`](homing_postgres::Error::is_rejected) if the function is transactional and was rolled back.
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
            let (repo, tally) = repo.for_function(call.deadline() - reserve(&call));
            let context = call.clone();
            let ran = if T::TRANSACTIONAL {
                run_in_transaction::<T>(&repo, call, arguments).await.map_err(Error::of_transactional_function)
            } else {
                T::run(Context::new(repo, call), arguments).await.map_err(FunctionError::from)
            };
            if tally.is_unchanged() {
                context.note_unchanged();
            }
            ran
        }
    };
    let function = Closure::new(T::NAME, run);
    registry.register(if T::IDEMPOTENT { function.idempotent() } else { function })
}

/// Runs the function in a transaction, which may take all the time that the function has, idle time included. At the end
/// of that time the transaction is rolled back, and the caller still learns of it.
async fn run_in_transaction<T: Remote>(repo: &Repo, call: CallContext, arguments: T::Arguments) -> Result<T::Output> {
    let time = repo.options().call_timeout;
    let options = TransactionOptions::default().with_time_limit(time).with_idle_timeout(time);
    // A statement that is running is cancelled at the time limit, and says so. This is for everything else that the
    // function may wait for.
    let stop = call.deadline() - reserve(&call) / 2;
    let body = |tx| async move {
        let ran = timeout_at(stop, T::run(Context::new(tx, call), arguments)).await;
        ran.unwrap_or_else(|_| {
            Err(Error::timed_out(
                "the function did not end within its caller's call_timeout and is rolled back: do less in it, or raise \
                 call_timeout",
            ))
        })
    };
    repo.transaction_with(options, body).await
}

/// Returns how long before the caller's deadline the calls of a function end: a tenth of its time, so that the function
/// can return their errors, and at most half a second, which is plenty to cancel a statement and roll back.
fn reserve(call: &CallContext) -> Duration {
    (call.deadline().saturating_duration_since(Instant::now()) / 10).min(Duration::from_millis(500))
}
