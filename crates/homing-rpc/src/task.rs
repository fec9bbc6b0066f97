//! Futures and tasks: how they are boxed, and how a panic goes on.

use std::pin::Pin;

use tokio::task::JoinError;

/// A boxed future, as traits return it that are used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Returns what a task returned, or `None` if it was aborted. A panic of the task goes on in its caller: it is a bug that
/// must not go unnoticed.
pub(crate) fn resume_panic<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
