//! The questions that go with a transaction: which transaction id it has, and its position.
//!
//! They are prepared before the transaction, because PostgreSQL prepares nothing after an error.

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row, Statement};
use tracing::warn;

use super::Executor;
use super::failure::Failure;
use crate::connection::pool::Connection;
use crate::position::Position;
use crate::position::lsn::Lsn;
use crate::position::transaction_id::TransactionId;
use crate::statement::kind::{Ask, Written};

/// The questions that go with one transaction.
#[derive(Debug)]
pub(crate) struct Questions<'a> {
    connection: &'a Connection,
    transaction: Option<PreparedQuery<'a>>,
    position: Option<PreparedQuery<'a>>,
}

/// The server's answer to the question for the position.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probed {
    At(Position),

    /// The server is a replica, so it has committed nothing.
    InRecovery,

    /// The connection was lost.
    Lost,

    NotAsked,
}

/// How far the log of a primary is.
#[derive(Debug, Clone, Copy)]
struct Log {
    flushed: Position,
    /// The end of what is inserted: everything that a session can see on the primary is before it.
    inserted: Lsn,
}

impl<'a> Questions<'a> {
    pub(crate) async fn prepare(connection: &'a Connection, ask: Ask) -> Result<Self, Failure> {
        let transaction = match ask {
            Ask::Nothing => None,
            Ask::Transaction | Ask::Position => {
                Some(PreparedQuery::new(connection, TRANSACTION_SQL, "a transaction id").await?)
            }
        };
        let position = match ask {
            Ask::Nothing | Ask::Transaction => None,
            Ask::Position => Some(PreparedQuery::new(connection, POSITION_SQL, "its position").await?),
        };
        Ok(Self { connection, transaction, position })
    }

    /// Asks whether the transaction has anything to commit, within it and after its last statement. An error ends the
    /// transaction, like any other.
    ///
    /// PostgreSQL gives a transaction an id when it first changes something in the database. A commit without an id leaves
    /// no trace for replicas. <https://www.postgresql.org/docs/current/transaction-id.html>
    ///
    /// Effects outside of the database need no id: notifications, foreign tables, other servers.
    pub(crate) async fn written(&self) -> Result<Written, Error> {
        let Some(query) = &self.transaction else { return Ok(Written::Unknown) };
        let transaction: Option<TransactionId> = query.ask().await?.try_get(0)?;
        Ok(transaction.map_or(Written::Nothing, Written::By))
    }

    /// Asks how far the log is, after the commit. Asked in the same message as the commit, it is how far the log was before.
    pub(crate) async fn log(&self) -> LogAnswer {
        let Some(query) = &self.position else { return LogAnswer(Ok(None)) };
        LogAnswer(log(query).await.map(Some))
    }

    /// Returns the position of the transaction. If it is one of a read that replicas do not get to before some later commit,
    /// makes the primary flush its log.
    pub(crate) fn position(&self, log: LogAnswer, written: Written) -> Probed {
        let (probed, flushed) = log.position(written);
        if flushed == Flushed::InPart {
            // The answer need not be awaited: one poll sends the statement.
            let _ = self.connection.batch_execute(FLUSH_SQL).now_or_never();
        }
        probed
    }
}

impl LogAnswer {
    /// Returns the position of the transaction, and whether the log is flushed up to there.
    ///
    /// The position of a write is the *flush* position. The insert position would not do: it counts what other sessions
    /// have not flushed, and it can lie past a page header, where replay stops before it.
    ///
    /// A read needs the insert position, because it may have seen commits that are not flushed
    /// (`synchronous_commit = off`).
    pub(crate) fn position(self, written: Written) -> (Probed, Flushed) {
        match self.0 {
            Ok(None) => (Probed::NotAsked, Flushed::Fully),
            Ok(Some(Log { flushed, .. })) if written != Written::Nothing => {
                let transaction = if let Written::By(transaction) = written { Some(transaction) } else { None };
                (Probed::At(flushed.with_transaction(transaction)), Flushed::Fully)
            }
            Ok(Some(Log { flushed, inserted })) => {
                let is_flushed = if flushed.lsn < inserted { Flushed::InPart } else { Flushed::Fully };
                (Probed::At(Position { lsn: inserted, ..flushed }), is_flushed)
            }
            Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                (Probed::InRecovery, Flushed::Fully)
            }
            Err(error) => {
                warn!(%error, "cannot read the position after a commit");
                (Probed::Lost, Flushed::Fully)
            }
        }
    }
}

/// Whether the log is flushed up to a position.
///
/// Closed: it is or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    Fully,

    /// Replicas do not get there before some session commits, or the primary is made to flush its log.
    InPart,
}

/// The answer to [`Questions::log`].
#[derive(Debug)]
pub(crate) struct LogAnswer(Result<Option<Log>, Error>);

async fn log(query: &PreparedQuery<'_>) -> Result<Log, Error> {
    let row = query.ask().await?;
    let timeline = row.try_get::<_, i32>(0)?.cast_unsigned();
    let flushed = Position::new(query.connection.system_identifier(), timeline, row.try_get::<_, Lsn>(1)?);
    Ok(Log { flushed, inserted: row.try_get(2)? })
}

impl Executor {
    /// Asks for a position that is after everything that sessions can see on the primary. If replicas do not get there before
    /// some later commit, makes the primary flush its log.
    pub(crate) async fn probe(&self, deadline: Instant) -> Probed {
        let Ok(connection) = self.pool.connection(deadline).await else {
            return Probed::Lost;
        };
        let probing = async {
            let questions = Questions::prepare(&connection, Ask::Position).await?;
            Ok::<_, Failure>(questions.position(questions.log().await, Written::Nothing))
        };
        let probed = timeout_at(deadline, probing).await;
        match probed {
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
            Self::InRecovery | Self::Lost | Self::NotAsked => None,
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
    select ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int, lsn, pg_current_wal_insert_lsn()
    from pg_current_wal_flush_lsn() as lsn";

const TRANSACTION_SQL: &str = "select pg_current_xact_id_if_assigned()";

/// An empty message in the log, and its commit, which flushes everything before it. It does not wait for synchronous
/// replicas. A role or a database whose transactions are read-only by default may do it too.
/// <https://www.postgresql.org/docs/current/functions-admin.html#PG-LOGICAL-EMIT-MESSAGE>
const FLUSH_SQL: &str = "
    select pg_catalog.set_config('synchronous_commit', 'local', true),
           pg_catalog.pg_logical_emit_message(true, 'homing', '')";
