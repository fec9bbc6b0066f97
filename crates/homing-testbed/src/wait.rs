//! Waiting: with a limit, or for something that blocks.

use std::{panic::resume_unwind, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};

use crate::{Error, Result};

/// `future`'s result, or an error made of `complaint` and the limit.
pub(crate) async fn within<T>(limit: Duration, complaint: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(Error::timed_out(format!("{complaint} within {limit:?}"))),
    }
}

/// Runs what blocks for longer than a task may, such as starting a helper program and waiting for
/// its end. Goes on when the future is dropped, and what it made is dropped at its end.
pub(crate) async fn unblocked<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
