//! The two questions that go with a transaction: its position, and whether it wrote anything.
//!
//! Both are prepared before the transaction, because PostgreSQL prepares nothing after an error.

use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row, Statement};
use tracing::warn;

use super::Executor;
use super::failure::Failure;
use crate::connection::pool::Connection;
use crate::position::Position;
use crate::position::lsn::Lsn;
use crate::statement::kind::Writes;

/// Asks for a position that the commit before it is not after.
///
/// That is the *flush* position, read *after* the commit. The insert position can lie past a page header, where replay
/// stops before it. It also counts writes of other sessions that are not flushed yet: on a quiet primary, a replica
/// takes seconds to reach it. A position read in the same message as the commit is from before the commit.
#[derive(Debug)]
pub(crate) struct PositionProbe<'a>(PreparedQuery<'a>);

/// Asks whether the transaction has anything to commit.
///
/// PostgreSQL gives a transaction an id when it first changes something in the database. A commit without an id leaves
/// no trace for replicas. <https://www.postgresql.org/docs/current/transaction-id.html>
///
/// Effects outside of the database need no id: notifications, foreign tables, other servers.
#[derive(Debug)]
pub(super) struct WriteProbe<'a>(PreparedQuery<'a>);

/// The server's answer to a [`PositionProbe`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probed {
    At(Position),

    /// The server is a replica, so it has committed nothing.
    InRecovery,

    /// The connection was lost.
    Lost,
}

impl<'a> PositionProbe<'a> {
    pub(crate) async fn prepare(connection: &'a Connection) -> Result<Self, Failure> {
        PreparedQuery::new(connection, POSITION_SQL, "its position").await.map(Self)
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

    async fn ask(&self) -> Result<Position, Error> {
        let row = self.0.ask().await?;
        let timeline = row.try_get::<_, i32>(0)?.cast_unsigned();
        Ok(Position::new(self.0.connection.system_identifier(), timeline, row.try_get::<_, Lsn>(1)?))
    }
}

impl<'a> WriteProbe<'a> {
    pub(super) async fn prepare(connection: &'a Connection) -> Result<Self, Failure> {
        PreparedQuery::new(connection, WRITES_SQL, "a transaction id").await.map(Self)
    }

    /// Asks within the transaction, after its last statement. An error ends the transaction, like any other.
    pub(super) async fn writes(&self) -> Result<Writes, Error> {
        Ok(if self.0.ask().await?.try_get(0)? { Writes::No } else { Writes::Yes })
    }
}

impl Executor {
    /// Asks for the position on another connection: any position after the commit will do.
    pub(crate) async fn probe(&self, deadline: Instant) -> Probed {
        let Ok(connection) = self.pool.connection(deadline).await else {
            return Probed::Lost;
        };
        let probing = async { Ok::<_, Failure>(PositionProbe::prepare(&connection).await?.position().await) };
        match timeout_at(deadline, probing).await {
            Ok(probed) => probed.unwrap_or(Probed::Lost),
            Err(_) => {
                connection.discard();
                Probed::Lost
            }
        }
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

/// A query without parameters that returns one row.
#[derive(Debug)]
struct PreparedQuery<'a> {
    connection: &'a Connection,
    statement: Statement,
}

impl<'a> PreparedQuery<'a> {
    async fn new(connection: &'a Connection, sql: &str, subject: &str) -> Result<Self, Failure> {
        match connection.statement(sql).await {
            Ok(statement) => Ok(Self { connection, statement }),
            Err(error) => Err(Failure::unavailable(format!("cannot ask the database for {subject}: {error}"))),
        }
    }

    async fn ask(&self) -> Result<Row, Error> {
        self.connection.query_one(&self.statement, &[]).await
    }
}

/// The name of a segment begins with its timeline in hexadecimal digits.
const POSITION_SQL: &str = "
    select ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int, lsn
    from pg_current_wal_flush_lsn() as lsn";

const WRITES_SQL: &str = "select pg_current_xact_id_if_assigned() is null";
