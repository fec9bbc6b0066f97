//! Boxed futures, and how the panic of a task continues.

use std::pin::Pin;

use tokio::task::JoinError;

/// A boxed future. Methods of traits that are used as `dyn` return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Returns the value of a task that has ended, or `None` if it was aborted. A panic of the task continues in the
/// caller: it is a bug that must not go unnoticed.
pub(crate) fn resume_panic<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
