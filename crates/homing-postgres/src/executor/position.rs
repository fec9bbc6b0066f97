//! The position that a commit is not after.
//!
//! It is the *flush* position, read *after* the commit. The insert position can lie past a page header where replay
//! stops before it, and counts what other sessions have not flushed yet: on a quiet primary a replica does not get
//! there for seconds. A position read in the same message as the commit is one of before the commit.

use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tracing::warn;

use super::Failure;
use crate::connection::pool::Connection;
use crate::position::{Position, Timeline};

/// The question for the position, prepared on a connection.
#[derive(Debug)]
pub(crate) struct PositionProbe<'a> {
    connection: &'a Connection,
    statement: Statement,
}

/// What the server answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probed {
    At(Position),

    /// The server is a replica: whatever it was asked, it has not committed anything.
    InRecovery,

    /// The connection was lost.
    Lost,
}

impl<'a> PositionProbe<'a> {
    pub(crate) async fn prepare(connection: &'a Connection) -> Result<Self, Failure> {
        match connection.statement(SQL).await {
            Ok(statement) => Ok(Self { connection, statement }),
            Err(error) => Err(Failure::unavailable(format!("the database cannot be asked for its position: {error}"))),
        }
    }

    pub(crate) async fn position(&self) -> Probed {
        match self.ask().await {
            Ok(position) => Probed::At(position),
            Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => Probed::InRecovery,
            Err(error) => {
                warn!(%error, "cannot read the position after a commit");
                Probed::Lost
            }
        }
    }

    async fn ask(&self) -> Result<Position, tokio_postgres::Error> {
        let row = self.connection.query_one(&self.statement, &[]).await?;
        Ok(Position {
            system_identifier: self.connection.system_identifier(),
            timeline: Timeline::from(row.try_get::<_, i32>(0)?.cast_unsigned()),
            lsn: row.try_get(1)?,
        })
    }
}

impl Probed {
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::InRecovery | Self::Lost => None,
        }
    }
}

/// The name of a segment begins with its timeline in hexadecimal digits.
const SQL: &str = "
    select ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int, lsn
    from pg_current_wal_flush_lsn() as lsn";
