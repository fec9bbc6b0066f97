//! Waiting: with a limit, for a condition, or for something that blocks.

use std::{panic::resume_unwind, time::Duration};

use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use crate::error::{Error, Result};

/// Waits until `condition` holds, for tests of things that send no signal. Asks again every millisecond.
///
/// # Panics
///
/// If the condition does not hold within 30 s. The message contains `what`.
///
/// # Cancel safety
///
/// Cancel safe if `condition` is.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        let mut ticks = interval(CONDITION_INTERVAL);
        while !condition().await {
            ticks.tick().await;
        }
    };
    assert!(timeout(CONDITION_TIMEOUT, holds).await.is_ok(), "not within {CONDITION_TIMEOUT:?}: {what}");
}

/// Returns the result of `future`, or an error made of `complaint` and the limit.
pub(crate) async fn within<T>(limit: Duration, complaint: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(Error::timed_out(format!("{complaint} within {limit:?}"))),
    }
}

/// Runs work that blocks for longer than a task may, such as a helper program and the wait for its
/// end. The work goes on if the future is dropped, and its result is dropped at its end.
pub(crate) async fn unblocked<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

const CONDITION_INTERVAL: Duration = Duration::from_millis(1);

/// Longer than anything takes on a busy machine.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(30);
