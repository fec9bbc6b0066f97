//! Boxed futures, and what becomes of a panic.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt as _;
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

/// Runs a future that must not end its caller by a panic, and returns the message of the panic instead. The future is
/// dropped then, so no state that it left half changed is seen.
///
/// # Errors
///
/// The message of the panic.
///
/// # Cancel safety
///
/// That of `future`.
pub async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| panic_message(&*panic).to_owned())
}

/// Returns the message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_becomes_its_message() {
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        assert_eq!(catch_panic(async { panic!("a bug") }).await, Err::<(), _>("a bug".to_owned()));
        let number = 7;
        assert_eq!(catch_panic(async { panic!("bug {number}") }).await, Err::<(), _>("bug 7".to_owned()));
        assert_eq!(catch_panic(async { std::panic::panic_any(7) }).await, Err::<(), _>("no message".to_owned()));
    }
}
