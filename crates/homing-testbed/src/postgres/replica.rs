//! The calls for replicas: catch up, pause, promote.

use std::time::Duration;

use tokio::time::sleep;

use super::Postgres;
use crate::{error::Result, wait::within};

impl Postgres {
    /// Asks the server whether it is a replica (`pg_is_in_recovery()`).
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_replica(&self) -> Result<bool> {
        self.ask("ask for the role", "select pg_is_in_recovery()").await
    }

    /// Waits until this replica has replayed everything that `primary` had written at the time of the
    /// call.
    ///
    /// # Errors
    ///
    /// - [`is_timed_out`](crate::Error::is_timed_out) if it has not after 30 s.
    /// - A database error if one of the two is stopped, or if `primary` is a replica itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn caught_up_with(&self, primary: &Self) -> Result<()> {
        let flushed: String = primary.ask("ask for the position", "select pg_current_wal_flush_lsn()::text").await?;
        let query = format!("select coalesce(pg_last_wal_replay_lsn() >= '{flushed}', false)");
        self.wait_until("replayed what the primary has written", &query).await
    }

    /// Pauses replay and waits until it has stopped. The replica still receives the stream.
    ///
    /// Writes on the primary after this call are invisible on this replica until
    /// [`resume_replay`](Self::resume_replay).
    ///
    /// # Errors
    ///
    /// - A database error if the server is stopped. With [`db`](crate::Error::db), if it is not a
    ///   replica.
    /// - [`is_timed_out`](crate::Error::is_timed_out) if replay has not stopped after 30 s.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, replay may be paused.
    pub async fn pause_replay(&self) -> Result<()> {
        self.run("pause replay", "select pg_wal_replay_pause()").await?;
        // PostgreSQL 14 and later distinguish a requested pause from one in force.
        self.wait_until("paused replay", "select pg_get_wal_replay_pause_state() = 'paused'").await
    }

    /// Resumes replay after [`pause_replay`](Self::pause_replay).
    ///
    /// # Errors
    ///
    /// A database error if the server is stopped. With [`db`](crate::Error::db), if it is not a
    /// replica.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, replay may go on.
    pub async fn resume_replay(&self) -> Result<()> {
        self.run("resume replay", "select pg_wal_replay_resume()").await
    }

    /// Promotes the replica to a primary with a new timeline, and waits until it accepts writes. Its
    /// old primary does not learn of it.
    ///
    /// # Errors
    ///
    /// - A database error if the server is stopped. With [`db`](crate::Error::db), if it is not a
    ///   replica.
    /// - [`is_timed_out`](crate::Error::is_timed_out) if it does not accept writes after 30 s.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the promotion goes on.
    pub async fn promote(&self) -> Result<()> {
        self.run("promote", "select pg_promote(wait => false)").await?;
        self.wait_until("become a primary", "select not pg_is_in_recovery()").await
    }

    /// Waits until `query` returns true. Asks on one connection.
    async fn wait_until(&self, goal: &str, query: &str) -> Result<()> {
        let complaint = format!("PostgreSQL {} has not {goal}", self.name());
        let reached = async {
            let client = self.connect().await?;
            let failed = |error| self.failed("ask for its state", error);
            let statement = client.prepare(query).await.map_err(failed)?;
            while !client.query_one(&statement, &[]).await.map_err(failed)?.get::<_, bool>(0) {
                sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        within(TIMEOUT, &complaint, reached).await
    }
}

/// Waits until a new replica streams, which takes some round trips of its link.
pub(super) async fn wait_until_streaming(replica: &Postgres) -> Result<()> {
    let query = "select exists(select from pg_stat_wal_receiver where status = 'streaming')";
    replica.wait_until("begun to stream from its primary", query).await
}

/// Short, because tests wait for it; each question is a query of its own on a local connection.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Longer than replay or a promotion takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
