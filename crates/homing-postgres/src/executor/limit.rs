//! How long a statement may run: until its deadline, or until nobody waits for it any more.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{CancelToken, NoTls};
use tracing::warn;

use super::failure::Failure;
use crate::connection::pool::{Connection, Pool};
use crate::error::function::with_causes;

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

    /// A connection, unless nobody waits any more by then: what is done for nobody takes it from somebody.
    pub(crate) async fn connection(&mut self, pool: &Pool) -> Result<Connection, Failure> {
        let deadline = self.deadline;
        tokio::select! {
            biased;
            () = self.passed() => Err(Failure::unavailable("the caller's time was over before a connection was free")),
            connection = pool.connection(deadline) => {
                connection.map_err(|error| Failure::unavailable(with_causes(&error)))
            }
        }
    }

    /// Runs `work`, which uses the connection of `token`, within the limit. The work is never dropped in the middle as
    /// long as the database reacts: a commit under way is waited for.
    pub(crate) async fn keep<T>(&mut self, token: CancelToken, work: impl Future<Output = T>) -> Limited<T> {
        self.keep_where(ready(()), token, work).await
    }

    /// The same for work that begins blocks on the connection: it is not cancelled while such a beginning is under way, and
    /// one that comes later is told of the cancellation.
    pub(crate) async fn keep_begun<T>(&mut self, connection: &Connection, work: impl Future<Output = T>) -> Limited<T> {
        let begun = async {
            connection.begun().await;
            connection.note_cancelled();
        };
        self.keep_where(begun, connection.cancel_token(), work).await
    }

    async fn keep_where<T>(
        &mut self,
        may_cancel: impl Future<Output = ()>,
        token: CancelToken,
        work: impl Future<Output = T>,
    ) -> Limited<T> {
        let mut work = pin!(work);
        tokio::select! {
            // Work that is done is done, whatever the clock says.
            biased;
            output = &mut work => return Limited::Ended(output),
            () = self.passed() => {}
        }
        tokio::select! {
            biased;
            output = &mut work => return Limited::Ended(output),
            () = may_cancel => {}
            // A server that does not even answer this would not react to a cancellation either.
            () = sleep(GRACE * CANCELLATIONS) => return Limited::Abandoned,
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
    async fn passed(&mut self) {
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

#[cfg(test)]
mod tests {
    use homing_testbed::Postgres;

    use super::*;
    use crate::database::{Config, Database};
    use crate::position::role::Role;

    const SLEEPING: &str =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(73)' and state = 'active'";

    /// Behind it, the statement would run by itself.
    #[tokio::test]
    async fn the_beginning_of_a_block_is_not_cancelled() {
        let server = Postgres::options().start().await.unwrap();
        let database = Database::connect(Config::new(server.url(), Role::Primary)).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let sleep = async |begun: bool| {
            let connection = database.pool().connection(deadline).await.unwrap();
            connection.note_beginning();
            if begun {
                connection.note_begun();
            }
            let (_caller, gone) = oneshot::channel();
            let mut limit = Limit::new(Instant::now(), gone);
            let limited = limit.keep_begun(&connection, connection.batch_execute("select pg_sleep(73)")).await;
            connection.discard();
            limited
        };
        assert!(matches!(sleep(true).await, Limited::Cancelled(Err(_))));
        assert!(matches!(sleep(false).await, Limited::Abandoned));
        let client = server.connect().await.unwrap();
        assert_eq!(client.query_one(SLEEPING, &[]).await.unwrap().get::<_, i64>(0), 1, "it was cancelled");
    }
}
