//! How long a statement may run: until its deadline, or until nobody waits for it any more.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::{CancelToken, NoTls};
use tracing::warn;

/// When to stop.
#[derive(Debug)]
pub(crate) struct Limit {
    deadline: Instant,
    caller_gone: oneshot::Receiver<()>,
}

/// How work under a limit ended.
#[derive(Debug)]
pub(crate) enum Limited<T> {
    /// Within the limit.
    Ended(T),

    /// It ended after the database was asked to cancel it; perhaps before the request arrived there.
    Cancelled(T),

    /// The database was asked to cancel it and it goes on.
    Abandoned,
}

impl Limit {
    /// `caller_gone` closes when nobody waits any more.
    pub(crate) fn new(deadline: Instant, caller_gone: oneshot::Receiver<()>) -> Self {
        Self { deadline, caller_gone }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Runs `work`, which uses the connection of `token`, within the limit. The work is never dropped in the middle as
    /// long as the database reacts: a commit under way is waited for.
    pub(crate) async fn keep<T>(&mut self, token: CancelToken, work: impl Future<Output = T>) -> Limited<T> {
        let mut work = pin!(work);
        tokio::select! {
            // Work that is done is done, whatever the clock says.
            biased;
            output = &mut work => return Limited::Ended(output),
            () = self.passed() => {}
        }
        for _ in 0..CANCELLATIONS {
            match timeout(GRACE, token.cancel_query(NoTls)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "cannot cancel a statement"),
                Err(_) => warn!("cannot cancel a statement: the database does not accept connections"),
            }
            // A request that arrives between two messages of the work cancels nothing: ask again.
            if let Ok(output) = timeout(GRACE, &mut work).await {
                return Limited::Cancelled(output);
            }
        }
        Limited::Abandoned
    }

    /// Completes when the limit has passed.
    pub(crate) async fn passed(&mut self) {
        tokio::select! {
            () = sleep_until(self.deadline) => {}
            // Either way the caller is gone: nothing is ever sent.
            _ = &mut self.caller_gone => {}
        }
    }
}

/// A server that is alive reacts to a cancellation within milliseconds.
const GRACE: Duration = Duration::from_millis(250);

/// Together with the time for each, about as long as the answer is still of use to anybody.
const CANCELLATIONS: u32 = 6;
