//! Finds the types of a statement's parameters and columns.

use tokio::time::{Instant, timeout_at};

use super::Engine;
use crate::connection::block;
use crate::connection::pool::AttendedConnection;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::primary::local_database;
use crate::statement::description::StatementDescription;

impl Engine {
    /// Returns the types of a statement: remembered ones, or else those that the local database or the primary reports.
    pub(crate) async fn describe(&self, sql: &str, deadline: Instant) -> Result<StatementDescription> {
        if let Some(description) = self.descriptions().description(sql) {
            return Ok(description);
        }
        let description = match self.describe_locally(sql, deadline).await? {
            Some(description) => description,
            None => self.primary().prepare(sql, deadline).await?,
        };
        self.descriptions().remember(sql, &description);
        Ok(description)
    }

    /// Forgets the types of a statement and asks the primary for them: the replica's schema may be older.
    pub(crate) async fn describe_again(&self, sql: &str, deadline: Instant) -> Result<()> {
        self.descriptions().forget(sql);
        let description = self.primary().prepare(sql, deadline).await?;
        self.descriptions().remember(sql, &description);
        Ok(())
    }

    /// Asks the local database for the types. Returns `None` if the primary has to be asked, since this node has no
    /// local database, the local database does not answer, or it is a replica that refuses the statement: only the
    /// primary says no.
    pub(crate) async fn describe_locally(&self, sql: &str, deadline: Instant) -> Result<Option<StatementDescription>> {
        let Some(database) = self.primary().database() else {
            return Ok(None);
        };
        let ask_primary = |error: Error| match database.role() {
            Some(Role::Primary) => Err(error),
            _ => Ok(None),
        };
        let half_way = half_way_to(deadline);
        let connection = match database.pool().connection(half_way).await {
            Ok(connection) => AttendedConnection::new(connection),
            // If it was the primary, another server may be the primary now.
            Err(error) if error.is_not_sent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let place = local_database(&database);
        // Preparing a statement waits for locks, including those that replay holds.
        let prepared = timeout_at(half_way, block::prepare(&connection, self.primary().local(), sql)).await;
        let Ok(prepared) = prepared else {
            return ask_primary(Error::not_sent(format!("{place} did not prepare the statement in time")));
        };
        drop(connection.done());
        let error = match prepared {
            Ok(statement) => return Ok(Some(StatementDescription::of(&statement))),
            Err(error) => error,
        };
        match error.as_db_error() {
            Some(refused) => ask_primary(Error::rejected_by(refused.into(), place)),
            None => Ok(None),
        }
    }
}

/// Returns the middle of the time that is left. The second half is for another server.
pub(crate) fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
