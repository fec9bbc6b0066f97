//! Futures and tasks: how they are boxed, and how a panic goes on.

use std::pin::Pin;

use tokio::task::JoinError;

/// A boxed future, as traits return it that are used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A panic in a task is a bug that is not to go unnoticed.
pub(crate) fn raise(error: JoinError) {
    if error.is_panic() {
        std::panic::resume_unwind(error.into_panic());
    }
}
