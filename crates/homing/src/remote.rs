use std::sync::{Arc, OnceLock};

use homing_postgres::{Error, RanOnce, Repo, Result, TransactionOptions, WeakRepo};
use homing_rpc::{
    BoxFuture, CallContext, Closure, FromArguments, FunctionError, IntoArguments, Reason, Registry, catch_panic,
    decode_value, encode_value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout_at};

use crate::context::Context;
use crate::state::State;

/// A named function that runs in the primary region, or in one that its caller names.
/// [`#[homing::remote]`](macro@crate::remote) implements it.
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
    /// The error that the function returns, as a [`homing::Error`](Error). Its caller gets it as
    /// [`is_function_failed`](homing_postgres::Error::is_function_failed), or as
    /// [`is_rejected`](homing_postgres::Error::is_rejected) if the function is transactional and was rolled back.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the caller's deadline.
    fn run(context: Context, arguments: Self::Arguments) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// What [`NodeBuilder::register`](crate::NodeBuilder::register) takes: the name of a function with
/// [`#[homing::remote]`](macro@crate::remote), or a value of a type that implements [`Remote`].
///
/// The compiler finds out which of the two it is, as `M`.
// The name is a function that returns the type. A variable can have the name of a function, and not that of a unit struct.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a remote function",
    label = "not a remote function",
    note = "write `#[homing::remote]` above the function, and name it here without calling it"
)]
pub trait Registered<M> {
    /// The type that stands for the function.
    type Function: Remote;
}

impl<T: Remote> Registered<OfType> for T {
    type Function = T;
}

impl<F: Fn() -> T, T: Remote> Registered<OfName> for F {
    type Function = T;
}

/// Marks a value of a type that implements [`Remote`].
#[derive(Debug)]
pub enum OfType {}

/// Marks the name of a function.
#[derive(Debug)]
pub enum OfName {}

/// What the node's functions share; set when the node starts.
pub(crate) type Slot = Arc<OnceLock<Shared>>;

#[derive(Debug)]
pub(crate) struct Shared {
    /// Weak: the functions must not keep the node alive.
    pub(crate) repo: WeakRepo,
    pub(crate) state: State,
}

/// Adds a function to the registry of the node.
pub(crate) fn register<T: Remote>(registry: &mut Registry, slot: &Slot) -> homing_rpc::Result<()> {
    let slot = Arc::clone(slot);
    let run = move |call: CallContext, arguments: T::Arguments| {
        let running = slot.get().and_then(|shared| Some((shared.repo.upgrade()?, shared.state.clone())));
        async move {
            let Some((repo, state)) = running else {
                return Err(FunctionError::new("the node is not running"));
            };
            // During a deployment that adds a database, another node of this region may know it already.
            let repo = repo.in_scope(call.scope());
            let repo = repo.map_err(|error| FunctionError::refused(Reason::UnknownDatabase, error.to_string()))?;
            let (repo, tally) = repo.for_function(call.deadline() - reserve(&call));
            let context = |repo| Context::new(repo, call.clone(), state);
            let ran = if T::TRANSACTIONAL {
                // Boxed, since the compiler limits how deep futures may be nested, and functions nest further.
                let running: BoxFuture<'_, _> = Box::pin(run_in_transaction::<T>(&repo, &call, context, arguments));
                running.await
            } else {
                T::run(context(repo), arguments).await.map_err(FunctionError::from)
            };
            if tally.is_unchanged() {
                call.note_unchanged();
            }
            ran
        }
    };
    let function = Closure::new(T::NAME, run);
    let function = if T::IDEMPOTENT { function.idempotent() } else { function };
    registry.register(if T::TRANSACTIONAL { function.taking_key() } else { function })
}

/// Runs the function in a transaction, which may take all the time that the function has, idle time included. At the end
/// of that time, or if the function panics, the transaction is rolled back, and the caller still learns of it.
async fn run_in_transaction<T: Remote>(
    repo: &Repo,
    call: &CallContext,
    context: impl FnOnce(Repo) -> Context + Send,
    arguments: T::Arguments,
) -> Result<T::Output, FunctionError> {
    let time = repo.options().call_timeout;
    let options = TransactionOptions::default().with_time_limit(time).with_idle_timeout(time);
    // A statement that is running is cancelled at the time limit, and says so. This is for everything else that the
    // function may wait for.
    let stop = call.deadline() - reserve(call) / 2;
    let mut has_panicked = false;
    let panicked = &mut has_panicked;
    let body = |tx| async move {
        match timeout_at(stop, catch_panic(T::run(context(tx), arguments))).await {
            Ok(Ok(returned)) => returned,
            Ok(Err(panic)) => {
                *panicked = true;
                Err(Error::failed(format!("the function panicked and is rolled back: {panic}")))
            }
            Err(_) => Err(Error::timed_out(
                "the function did not end within its caller's call_timeout and is rolled back: do less in it, or raise \
                 call_timeout",
            )),
        }
    };
    let ran = match call.key() {
        None => repo.transaction_with(options, body).await,
        Some(key) => match repo.transaction_of_call(options, key, body, |output| encode_value(output).ok()).await {
            Ok(RanOnce::Now(output)) => Ok(output),
            Ok(RanOnce::Before(kept)) => returned_before(kept),
            Err(error) => Err(error),
        },
    };
    ran.map_err(|error| {
        let error = error.of_transactional_function();
        if has_panicked { error.into_panicked() } else { error }
    })
}

/// Returns what an earlier attempt of a function has returned.
fn returned_before<R: DeserializeOwned>(kept: Option<impl AsRef<[u8]>>) -> Result<R> {
    let kept = kept.and_then(|kept| decode_value(kept.as_ref()).ok());
    kept.ok_or_else(RanOnce::<R>::without_result)
}

/// Returns how long before the caller's deadline the calls of a function end: a tenth of its time, so that the function
/// can return their errors, and at most half a second, which is plenty to cancel a statement and roll back.
fn reserve(call: &CallContext) -> Duration {
    (call.deadline().saturating_duration_since(Instant::now()) / 10).min(Duration::from_millis(500))
}
