//! The questions that go with a transaction: which transaction id it has, and its position.
//!
//! They are prepared before the transaction, because PostgreSQL prepares nothing after an error.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row, Statement};
use tracing::warn;

use super::Executor;
use super::failure::Failure;
use super::keyed::claims::Claim;
use crate::connection::abilities::is_refusal;
use crate::connection::pool::Connection;
use crate::position::kind::PositionKind;
use crate::position::lsn::Lsn;
use crate::position::role::{IS_REPLICA, Role};
use crate::position::transaction_id::TransactionId;
use crate::position::{Position, SystemIdentifier, Timeline};
use crate::statement::kind::{Ask, Written};

/// The questions that go with one transaction.
#[derive(Debug)]
pub(crate) struct Questions<'a> {
    connection: &'a Connection,
    transaction: TransactionQuestion<'a>,
    position: PositionQuestion<'a>,
}

/// The question for the transaction id.
#[derive(Debug)]
enum TransactionQuestion<'a> {
    None,

    Id(PreparedQuery<'a>),

    /// The claim of a key tells it too.
    Claim(&'a Claim),
}

/// The question for the position.
#[derive(Debug)]
enum PositionQuestion<'a> {
    None,

    /// How far the log is.
    Log(PreparedQuery<'a>),

    /// Whether the server is a replica. The id of the transaction is the position.
    Role(PreparedQuery<'a>),

    /// Nothing: the server is a primary as long as it runs, and the id of the transaction is the position.
    Transaction,
}

/// The server's answer to the question for the position.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probed {
    At(Position),

    /// The server is a replica, so it has committed nothing.
    InRecovery,

    /// The connection was lost, or it cannot tell the position of what was done on it.
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
    pub(crate) async fn prepare(
        connection: &'a Connection,
        ask: Ask,
        claim: Option<&'a Claim>,
    ) -> Result<Self, Failure> {
        let transaction = match (claim, ask) {
            (Some(claim), _) => TransactionQuestion::Claim(claim),
            (None, Ask::Nothing) => TransactionQuestion::None,
            (None, Ask::Transaction | Ask::Position) => {
                TransactionQuestion::Id(PreparedQuery::new(connection, TRANSACTION_SQL, "a transaction id").await?)
            }
        };
        let position = match (ask, connection.positions(), connection.role()) {
            (Ask::Nothing | Ask::Transaction, ..) => PositionQuestion::None,
            (Ask::Position, PositionKind::Lsn, _) => {
                PositionQuestion::Log(PreparedQuery::new(connection, POSITION_SQL, "its position").await?)
            }
            (Ask::Position, PositionKind::Transaction, Role::Replica) => PositionQuestion::Role(
                PreparedQuery::new(connection, &format!("select {IS_REPLICA}"), "its role").await?,
            ),
            (Ask::Position, PositionKind::Transaction, Role::Primary) => PositionQuestion::Transaction,
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
    ///
    /// If there is a key, claims it with `result`.
    pub(crate) async fn written(&self, result: Option<&[u8]>) -> Result<Written, Error> {
        let query = match &self.transaction {
            TransactionQuestion::None => return Ok(Written::Unknown),
            TransactionQuestion::Claim(claim) => return claim.ask(self.connection, result).await,
            TransactionQuestion::Id(query) => query,
        };
        let transaction: Option<TransactionId> = query.ask().await?.try_get(0)?;
        Ok(transaction.map_or(Written::Nothing, Written::By))
    }

    /// Asks how far the log is, after the commit. Asked in the same message as the commit, it is how far the log was before.
    pub(crate) async fn log(&self) -> LogAnswer {
        let by_transaction = || Told::ByTransaction {
            system_identifier: self.connection.system_identifier(),
            timeline: self.connection.timeline(),
        };
        LogAnswer(match &self.position {
            PositionQuestion::None => Ok(Told::Nothing),
            PositionQuestion::Log(query) => log(query).await.map(Told::Log),
            PositionQuestion::Role(query) => is_replica(query).await.map(|is_replica| match is_replica {
                true => Told::InRecovery,
                false => by_transaction(),
            }),
            PositionQuestion::Transaction => Ok(by_transaction()),
        })
    }

    /// Returns the position of the transaction. If it is one of a read that replicas do not get to before some later commit,
    /// makes the primary flush its log.
    pub(crate) fn position(&self, log: LogAnswer, written: Written) -> Probed {
        let (probed, flushed) = log.position(written);
        if flushed == Flushed::InPart {
            // The answer need not be awaited: one poll sends the statement.
            let _ = self.connection.batch_execute(MARK_SQL).now_or_never();
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
    ///
    /// If the server tells positions by transaction, that of a write is its id, and a read has none: the caller asks for one
    /// when it needs it.
    pub(crate) fn position(self, written: Written) -> (Probed, Flushed) {
        match self.0 {
            Ok(Told::Nothing) => (Probed::NotAsked, Flushed::Fully),
            Ok(Told::InRecovery) => (Probed::InRecovery, Flushed::Fully),
            Ok(Told::ByTransaction { system_identifier, timeline }) => {
                let probed = match (written, timeline) {
                    (Written::Nothing, _) => Probed::NotAsked,
                    (Written::By(transaction), Some(timeline)) => {
                        Probed::At(Position::by_transaction(system_identifier, timeline, transaction))
                    }
                    (Written::By(_) | Written::Unknown, _) => Probed::Lost,
                };
                (probed, Flushed::Fully)
            }
            Ok(Told::Log(Log { flushed, .. })) if written != Written::Nothing => {
                let transaction = if let Written::By(transaction) = written { Some(transaction) } else { None };
                (Probed::At(flushed.with_transaction(transaction)), Flushed::Fully)
            }
            Ok(Told::Log(Log { flushed, inserted })) => {
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
pub(crate) struct LogAnswer(Result<Told, Error>);

/// What the server has told after a transaction.
#[derive(Debug)]
enum Told {
    Nothing,
    Log(Log),
    InRecovery,

    /// The transaction was one of this timeline, if that is known.
    ByTransaction {
        system_identifier: SystemIdentifier,
        timeline: Option<Timeline>,
    },
}

async fn log(query: &PreparedQuery<'_>) -> Result<Log, Error> {
    let row = query.ask().await?;
    let timeline = row.try_get::<_, i32>(0)?.cast_unsigned();
    let flushed = Position::new(query.connection.system_identifier(), timeline, row.try_get::<_, Lsn>(1)?);
    Ok(Log { flushed, inserted: row.try_get(2)? })
}

async fn is_replica(query: &PreparedQuery<'_>) -> Result<bool, Error> {
    query.ask().await?.try_get(0)
}

/// Commits a transaction of its own, and returns its position. Everything that was visible before has been committed before
/// it.
async fn mark(connection: &Connection) -> Probed {
    let Some(timeline) = connection.timeline() else { return Probed::InRecovery };
    let id = async |sql| connection.query_typed_one(sql, &[]).await?.try_get::<_, TransactionId>(0);
    let id = match id(MARK_SQL).await {
        Err(error) if is_refusal(&error) => id(UNFLUSHED_MARK_SQL).await,
        id => id,
    };
    match id {
        Ok(id) => Probed::At(Position::by_transaction(connection.system_identifier(), timeline, id)),
        Err(error) => {
            warn!(%error, "cannot commit a transaction that stands for a position");
            Probed::Lost
        }
    }
}

impl Executor {
    /// Asks for a position that is after everything that sessions can see on the primary. If replicas do not get there before
    /// some later commit, makes the primary flush its log. If the server tells positions by transaction, commits one.
    ///
    /// The future is boxed, since the compiler limits how deep futures may be nested, and applications nest further.
    pub(crate) fn probe(&self, deadline: Instant) -> BoxFuture<'_, Probed> {
        self.probe_unboxed(deadline).boxed()
    }

    async fn probe_unboxed(&self, deadline: Instant) -> Probed {
        let connection = match self.pool.connection(deadline).await {
            Ok(connection) if connection.positions() == PositionKind::Transaction => {
                // The server may have been promoted since the connection was opened.
                drop(connection);
                self.pool.writing_connection(deadline).await
            }
            connection => connection,
        };
        let Ok(connection) = connection else { return Probed::Lost };
        let probing = async {
            if connection.positions() == PositionKind::Transaction {
                return Ok(mark(&connection).await);
            }
            let questions = Questions::prepare(&connection, Ask::Position, None).await?;
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
///
/// The id of the transaction alone would not do: without something in the log, PostgreSQL does not wait until its commit is
/// flushed, and replicas would see it up to `wal_writer_delay` later.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/access/transam/xact.c>, `RecordTransactionCommit`
const MARK_SQL: &str = "
    select pg_catalog.pg_current_xact_id(), pg_catalog.set_config('synchronous_commit', 'local', true),
           pg_catalog.pg_logical_emit_message(true, 'homing', '')";

/// For a server that refuses messages in the log.
const UNFLUSHED_MARK_SQL: &str = "select pg_catalog.pg_current_xact_id()";
