//! [`Limit`], how long a statement may run: until its deadline, or until its caller is gone.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::failure::Failure;
use crate::connection::open::Cancellation;
use crate::connection::pool::{Connection, Pool};
use crate::error::function::with_causes;
use crate::statement::kind::RunsOn;

/// When to stop working for a caller.
#[derive(Debug)]
pub(crate) struct Limit {
    deadline: Instant,
    caller_gone: oneshot::Receiver<()>,
}

/// How work under a limit ended.
#[derive(Debug)]
pub(crate) enum Limited<T> {
    /// It ended within the limit.
    Ended(T),

    /// It ended after a cancel request was sent, perhaps before the request arrived.
    Cancelled(T),

    /// It goes on, because the database did not react.
    Abandoned,
}

impl Limit {
    /// Creates a limit. The sender of `caller_gone` belongs to the caller and is dropped with it.
    pub(crate) fn new(deadline: Instant, caller_gone: oneshot::Receiver<()>) -> Self {
        Self { deadline, caller_gone }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes a connection from the pool, for statements that run where `runs_on` says. If the caller is gone by then, the
    /// connection is left to others.
    pub(crate) async fn connection(&mut self, pool: &Pool, runs_on: RunsOn) -> Result<Connection, Failure> {
        let deadline = self.deadline;
        let connection = async {
            match runs_on {
                RunsOn::Any => pool.connection(deadline).await,
                RunsOn::Primary => pool.writing_connection(deadline).await,
            }
        };
        tokio::select! {
            biased;
            () = self.passed() => {
                pool.known().suspect();
                Err(Failure::unavailable("the deadline passed before a connection was free"))
            }
            connection = connection => {
                connection.map_err(|error| Failure::unavailable(with_causes(&error)))
            }
        }
    }

    /// Runs `work`, which uses the connection of `cancellation`, within the limit. As long as the database reacts, the work is
    /// not dropped halfway: a commit that is under way is waited for.
    pub(crate) async fn run<T>(&mut self, cancellation: Cancellation, work: impl Future<Output = T>) -> Limited<T> {
        self.run_cancelling(ready(()), cancellation, work).await
    }

    /// Runs `work`, which begins transaction blocks on the connection. It is not cancelled while a BEGIN is under way:
    /// the statement behind it would run outside of a block. A block that begins later finds the connection marked as
    /// cancelled.
    pub(crate) async fn run_with_blocks<T>(
        &mut self,
        connection: &Connection,
        work: impl Future<Output = T>,
    ) -> Limited<T> {
        let begun = async {
            connection.begun().await;
            connection.note_cancelled();
        };
        self.run_cancelling(begun, connection.cancellation(), work).await
    }

    async fn run_cancelling<T>(
        &mut self,
        may_cancel: impl Future<Output = ()>,
        cancellation: Cancellation,
        work: impl Future<Output = T>,
    ) -> Limited<T> {
        let mut work = pin!(work);
        tokio::select! {
            // A result counts even if the limit passes at the same moment.
            biased;
            output = &mut work => return Limited::Ended(output),
            () = self.passed() => {}
        }
        tokio::select! {
            biased;
            output = &mut work => return Limited::Ended(output),
            () = may_cancel => {}
            // A server that does not answer BEGIN would not react to a cancel request either.
            () = sleep(GRACE * MAX_CANCELLATIONS) => return Limited::Abandoned,
        }
        let mut given_up = pin!(sleep(GRACE * 2 * MAX_CANCELLATIONS));
        for _ in 0..MAX_CANCELLATIONS {
            tokio::select! {
                biased;
                // The request may have been sent.
                output = &mut work => return Limited::Cancelled(output),
                result = cancellation.request() => {
                    if let Err(error) = result {
                        warn!(%error, "cannot cancel a statement");
                    }
                }
                () = &mut given_up => {
                    warn!("cannot cancel a statement: the database does not accept connections");
                    return Limited::Abandoned;
                }
            }
            // A cancel request that arrives between two messages of the work has no effect, so it is sent again.
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
            // Nothing is ever sent: the channel closes when the caller is gone.
            _ = &mut self.caller_gone => {}
        }
    }
}

/// How long to wait for the effect of one cancel request. A live server reacts within milliseconds.
const GRACE: Duration = Duration::from_millis(250);

/// How often to send the cancel request. All of them together take up to 3 s; after that, the answer is of no use. A request
/// over TLS takes three round trips before it is sent.
const MAX_CANCELLATIONS: u32 = 6;

#[cfg(test)]
mod tests {
    use homing_testbed::{CertificateAuthority, Postgres, Relay};

    use super::*;
    use crate::connection::address::Address;

    const SLEEPING: &str =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(73)' and state = 'active'";

    /// Over TLS, the request takes longer than [`GRACE`] to get there.
    #[tokio::test]
    async fn far_server_is_cancelled_over_tls() {
        let certificate = CertificateAuthority::new("authority").unwrap().issue(&["127.0.0.1"]).unwrap();
        let server = Postgres::options().with_certificate(&certificate).start().await.unwrap();
        let relay = Relay::start(server.address()).unwrap();
        relay.set_round_trip(GRACE);
        let url = format!("postgres://postgres@{}/postgres?sslmode=require", relay.address());
        let pool = Pool::new(Address::resolve(&url, "V").await.unwrap().remove(0), 1);
        let connection = pool.connection(Instant::now() + Duration::from_secs(30)).await.unwrap();
        let (_caller, gone) = oneshot::channel();
        let mut limit = Limit::new(Instant::now(), gone);
        let work = connection.batch_execute("select pg_sleep(74)");
        assert!(matches!(limit.run(connection.cancellation(), work).await, Limited::Cancelled(Err(_))));
    }

    /// Behind a cancelled BEGIN, the statement would run outside of a block.
    #[tokio::test]
    async fn begin_is_not_cancelled() {
        let server = Postgres::options().start().await.unwrap();
        let pool = Pool::new(Address::resolve(&server.url(), "V").await.unwrap().remove(0), 2);
        let deadline = Instant::now() + Duration::from_secs(30);
        let sleep = async |begun: bool| {
            let connection = pool.connection(deadline).await.unwrap();
            connection.note_beginning();
            if begun {
                connection.note_begun();
            }
            let (_caller, gone) = oneshot::channel();
            let mut limit = Limit::new(Instant::now(), gone);
            let limited = limit.run_with_blocks(&connection, connection.batch_execute("select pg_sleep(73)")).await;
            connection.discard();
            limited
        };
        assert!(matches!(sleep(true).await, Limited::Cancelled(Err(_))));
        assert!(matches!(sleep(false).await, Limited::Abandoned));
        let client = server.connect().await.unwrap();
        assert_eq!(client.query_one(SLEEPING, &[]).await.unwrap().get::<_, i64>(0), 1, "it was cancelled");
    }
}
