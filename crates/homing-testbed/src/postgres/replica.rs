//! What only a replica can do: wait, pause, promote.

use std::time::Duration;

use tokio::time::sleep;

use super::Postgres;
use crate::{error::Result, wait::within};

impl Postgres {
    /// Whether the server is a replica, as PostgreSQL itself sees it.
    ///
    /// # Errors
    ///
    /// If the server is stopped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_replica(&self) -> Result<bool> {
        self.ask("ask for the role", "select pg_is_in_recovery()").await
    }

    /// Waits until this replica has replayed everything that `primary` had written when this was
    /// called.
    ///
    /// # Errors
    ///
    /// [`is_timed_out`](crate::Error::is_timed_out) after 30 s, or if one of the two is stopped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn caught_up_with(&self, primary: &Self) -> Result<()> {
        let flushed: String = primary.ask("ask for the position", "select pg_current_wal_flush_lsn()::text").await?;
        let query = format!("select coalesce(pg_last_wal_replay_lsn() >= '{flushed}', false)");
        self.wait_until("replayed what the primary has written", &query).await
    }

    /// Stops replaying, while the stream goes on, and waits until replay has stopped: what is
    /// written on the primary after this returns stays invisible here until
    /// [`resume_replay`](Self::resume_replay).
    ///
    /// # Errors
    ///
    /// If the server is stopped or not a replica.
    ///
    /// # Cancel safety
    ///
    /// Replay may be paused when the future is dropped.
    pub async fn pause_replay(&self) -> Result<()> {
        self.run("pause replay", "select pg_wal_replay_pause()").await?;
        // Before PostgreSQL 14 asking and having stopped could not be told apart; those are out of
        // support.
        self.wait_until("paused replay", "select pg_get_wal_replay_pause_state() = 'paused'").await
    }

    /// Goes on replaying.
    ///
    /// # Errors
    ///
    /// If the server is stopped or not a replica.
    ///
    /// # Cancel safety
    ///
    /// Replay may go on when the future is dropped.
    pub async fn resume_replay(&self) -> Result<()> {
        self.run("resume replay", "select pg_wal_replay_resume()").await
    }

    /// Makes the replica a primary with a timeline of its own, and waits until it takes writes. Its
    /// old primary is not told.
    ///
    /// # Errors
    ///
    /// If the server is stopped or not a replica, and
    /// [`is_timed_out`](crate::Error::is_timed_out) after 30 s.
    ///
    /// # Cancel safety
    ///
    /// The promotion goes on when the future is dropped.
    pub async fn promote(&self) -> Result<()> {
        self.run("promote", "select pg_promote(wait => false)").await?;
        self.wait_until("become a primary", "select not pg_is_in_recovery()").await
    }

    /// Waits until `query` is true, asking on one connection.
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

/// Waits for a new replica's stream, which takes some round trips of its link.
pub(super) async fn wait_until_streaming(replica: &Postgres) -> Result<()> {
    let query = "select exists(select from pg_stat_wal_receiver where status = 'streaming')";
    replica.wait_until("begun to stream from its primary", query).await
}

const POLL_INTERVAL: Duration = Duration::from_millis(2);

const TIMEOUT: Duration = Duration::from_secs(30);
