//! [`RequestRun`], the statements of one request on one connection, and the position after their commit.

mod response;

use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::{join, join3};
use homing_proto::v1 as proto;
use prost::Message;
use tokio_postgres::Row;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::ToSql;
use tracing::warn;

use super::failure::Failure;
use super::keyed::carried::ADDED_COLUMNS;
use super::keyed::claims::Claim;
use super::prepared::{Carrying, Prepared};
use super::probe::{Probed, Questions};
use super::references::{FirstRows, Unmet};
use super::silence::{LIMIT_SILENCE, limit_silence};
use super::within::Within;
use crate::connection::block::Block;
use crate::connection::pool::Connection;
use crate::error::database::DatabaseError;
use crate::outcome::MAX_RESULT_BYTES;
use crate::statement::kind::{Ask, Written};
use crate::statement::values::{self, Encoded, Raw};

/// The statements of one request on one connection, with or without a transaction block.
#[derive(Debug)]
pub(crate) struct RequestRun<'a> {
    connection: &'a Connection,
    rows_bytes_left: usize,
    rows_dropped: bool,
    first_rows: FirstRows,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum RunOutcome {
    Committed {
        results: proto::StatementResults,
        position: Probed,
        written: Written,
        /// Whether the wait for a synchronous replica was cancelled.
        not_replicated: bool,
    },
    Rejected {
        /// The index of the statement, or `None` for the commit.
        statement: Option<u32>,
        error: Box<DatabaseError>,
    },
    DeadlineExceeded {
        statement: Option<u32>,
    },

    /// A statement did not meet a requirement of the request.
    Unmet {
        statement: u32,
        unmet: Unmet,
    },

    /// A script left a transaction open. It was rolled back.
    LeftOpen,

    /// The connection was lost over the commit of statements that have these results, if they are known. They were sent with the
    /// claim if `is_kept`.
    Interrupted {
        results: Option<proto::StatementResults>,
        is_kept: bool,
        message: String,
    },

    /// The key of the request was claimed by another attempt, or settled. This one was rolled back.
    Taken,

    /// It did not run, since the key was settled that many times, and its caller was not told.
    KeySettled(i32),

    /// Another request has used the key.
    KeyReused,

    /// What became of earlier attempts cannot be known, and this one did not run.
    Unprotected,
}

impl<'a> RequestRun<'a> {
    pub(crate) fn new(connection: &'a Connection, max_rows_bytes: usize) -> Self {
        let first_rows = FirstRows::wanted_by([]);
        Self { connection, rows_bytes_left: max_rows_bytes, rows_dropped: false, first_rows }
    }

    /// Prepares to keep the first rows that these statements refer to.
    pub(super) fn referring_to(self, statements: &[Prepared<'_>]) -> Self {
        Self { first_rows: FirstRows::wanted_by(statements.iter().flat_map(Prepared::references)), ..self }
    }

    /// Runs the statements, and asks the questions of `ask`.
    pub(super) async fn run(
        mut self,
        statements: &[Prepared<'_>],
        within: Within<'_>,
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<RunOutcome, Failure> {
        let questions = Questions::prepare(self.connection, ask, claim).await?;
        match (statements, within) {
            ([statement], Within::Block(block))
                if claim.is_some_and(|claim| !claim.once.keeps_result) && statement.expected_rows().is_none() =>
            {
                self.claimed(&[], Some(statement), block, &questions).await
            }
            (statements, Within::Block(block)) if claim.is_some() => {
                self.claimed(statements, None, block, &questions).await
            }
            // A statement that requires a row count may have to be rolled back, so it must not commit by itself.
            ([statement], Within::Connection) if statement.expected_rows().is_none() => {
                self.single(statement, &questions).await
            }
            ([statement], Within::Block(block)) if statement.expected_rows().is_none() => {
                self.single_in_block(statement, block, &questions).await
            }
            (statements, within) => self.several(statements, within, &questions).await,
        }
    }

    /// Runs a statement in a block. BEGIN, the statement, the questions and COMMIT are sent one behind the other, without
    /// waiting.
    async fn single_in_block(
        &mut self,
        statement: &Prepared<'_>,
        block: Block<'_>,
        questions: &Questions<'_>,
    ) -> Result<RunOutcome, Failure> {
        let ran = block.finish_and_ask(self.statement(0, statement), questions.written(None));
        let (result, log) = join(ran, questions.log()).await;
        match result {
            Ok((result, written)) => {
                Ok(self.committed(self.results(vec![result]), questions.position(log, written), written))
            }
            Err(failure) => failure.ended(0, Commit::MayHaveHappened),
        }
    }

    /// Runs a statement that is a transaction by itself. The question for the position is sent right behind it, without
    /// waiting. Each of the two messages ends with a Sync of its own, so the position is from after the commit, and
    /// costs no further round trip.
    async fn single(&mut self, statement: &Prepared<'_>, questions: &Questions<'_>) -> Result<RunOutcome, Failure> {
        // The driver sends a message when its future is first polled, so they are sent in this order.
        let (result, log) = join(self.statement(0, statement), questions.log()).await;
        match result {
            Ok(_) if self.is_left_open(statement).await => Ok(RunOutcome::LeftOpen),
            Ok(result) => {
                let position = questions.position(log, Written::Unknown);
                Ok(self.committed(self.results(vec![result]), position, Written::Unknown))
            }
            Err(failure) => failure.ended(0, Commit::MayHaveHappened),
        }
    }

    /// Runs several statements in one transaction.
    async fn several(
        &mut self,
        statements: &[Prepared<'_>],
        within: Within<'_>,
        questions: &Questions<'_>,
    ) -> Result<RunOutcome, Failure> {
        let connection = self.connection;
        let begun = match within {
            Within::Connection => connection.batch_execute(&format!("BEGIN; {LIMIT_SILENCE}")).await,
            Within::Block(block) => {
                limit_silence(connection);
                block.go_on().await
            }
        };
        if let Err(error) = begun {
            return rejected(None, &error, Commit::WasNotSent);
        }
        self.first_rows = FirstRows::wanted_by(statements.iter().flat_map(Prepared::references));
        let mut results = Vec::with_capacity(statements.len());
        for (index, statement) in (0..).zip(statements) {
            match self.statement(index, statement).await {
                Ok(result) => results.push(result),
                Err(failure) => {
                    self.roll_back().await;
                    return failure.ended(index, Commit::WasNotSent);
                }
            }
        }
        let (written, commit, log) =
            join3(questions.written(None), connection.batch_execute("COMMIT"), questions.log()).await;
        // PostgreSQL answers the COMMIT of a failed transaction without an error, although it rolls back.
        match written.and_then(|written| commit.map(|()| written)) {
            Ok(written) => Ok(self.committed(self.results(results), questions.position(log, written), written)),
            Err(error) => rejected(None, &error, Commit::MayHaveHappened),
        }
    }

    /// Runs statements in a block, and sends the claim of their key, COMMIT and the question for the position behind them without
    /// waiting. The claim has their results, except that of `last`, which is sent right before it.
    async fn claimed(
        &mut self,
        statements: &[Prepared<'_>],
        last: Option<&Prepared<'_>>,
        mut block: Block<'_>,
        questions: &Questions<'_>,
    ) -> Result<RunOutcome, Failure> {
        self.first_rows = FirstRows::wanted_by(statements.iter().flat_map(Prepared::references));
        let mut results = Vec::with_capacity(statements.len());
        if !statements.is_empty() {
            // The claim is sent after their answers.
            limit_silence(self.connection);
        }
        for (index, statement) in (0..).zip(statements) {
            match block.hearing(self.statement(index, statement)).await {
                Ok(result) => results.push(result),
                // Dropping the block rolls back.
                Err(StatementFailure::Failed(error)) => {
                    return rejected(Some(index), &block.cause(error).await, Commit::WasNotSent);
                }
                Err(StatementFailure::Unmet(unmet)) => return Ok(RunOutcome::Unmet { statement: index, unmet }),
            }
        }
        let results = self.results(results);
        let kept = (last.is_none() && results.encoded_len() <= MAX_RESULT_BYTES).then(|| results.encode_to_vec());
        // Only the claim's own error says what became of the key.
        let claim = async { Ok(questions.written(kept.as_deref()).await) };
        let mut results = last.is_none().then_some(results);
        let last = async {
            if let Some(last) = last {
                let result = self.statement(0, last).await?;
                results = Some(self.results(vec![result]));
            }
            Ok::<_, StatementFailure>(())
        };
        let (ended, log) = join(block.finish_and_ask(last, claim), questions.log()).await;
        let (claimed, results) = match (ended, results) {
            (Ok(((), claimed)), Some(results)) => (claimed, results),
            (Ok(_), None) => unreachable!("the last statement has a result unless it failed"),
            (Err(failure @ StatementFailure::Unmet(_)), _) | (Err(failure), None) => {
                return failure.ended(0, Commit::MayHaveHappened);
            }
            // The statements have run, so it is the error of the commit.
            (Err(StatementFailure::Failed(error)), Some(results)) => {
                return match rejected(None, &error, Commit::MayHaveHappened) {
                    Err(Failure::Unknown(message)) => {
                        Ok(RunOutcome::Interrupted { results: Some(results), is_kept: kept.is_some(), message })
                    }
                    ended => ended,
                };
            }
        };
        match claimed {
            Ok(written) => Ok(self.committed(results, questions.position(log, written), written)),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(RunOutcome::Taken),
            Err(error) if Claim::is_obsolete(&error) => {
                self.connection.forget_statements();
                Err(Failure::unavailable(format!("the table of outcomes was removed: {error}")))
            }
            Err(error) => rejected(None, &error, Commit::WasNotSent),
        }
    }

    /// Runs a statement that carries the claim of its key, and is a transaction by itself. The question for the position is sent
    /// right behind it, as behind [`single`](Self::single).
    pub(super) async fn carrying(
        mut self,
        carrying: Carrying<'_>,
        questions: &Questions<'_>,
    ) -> Result<RunOutcome, Failure> {
        let (result, log) = join(self.carried(carrying), questions.log()).await;
        let error = match result {
            Ok((result, written)) => {
                return Ok(self.committed(self.results(vec![result]), questions.position(log, written), written));
            }
            Err(error) if Claim::is_taken(&error) => return Ok(RunOutcome::Taken),
            Err(error) => error,
        };
        match rejected(Some(0), &error, Commit::MayHaveHappened) {
            Err(Failure::Unknown(message)) => Ok(RunOutcome::Interrupted { results: None, is_kept: true, message }),
            ended => ended,
        }
    }

    async fn carried(
        &mut self,
        carrying: Carrying<'_>,
    ) -> Result<(proto::StatementResult, Written), tokio_postgres::Error> {
        let Carrying { statement, parameters, claim } = carrying;
        let columns = statement.columns().len() - ADDED_COLUMNS;
        let (key, fingerprint) = (&claim.once.key, &claim.fingerprint);
        let parameters = parameters.iter().map(|value| value as &(dyn ToSql + Sync));
        let parameters: Vec<_> = parameters.chain([key as &(dyn ToSql + Sync), fingerprint]).collect();
        let mut stream = pin!(self.connection.query_raw(&statement, parameters).await?);
        let (mut result, mut written) = (proto::StatementResult::default(), Written::Nothing);
        while let Some(row) = stream.try_next().await? {
            if row.try_get::<_, Option<bool>>(columns)?.is_some() {
                result.rows_affected += 1;
                self.keep(values::of_columns(&row, columns), &mut result.rows);
            }
            if let Some(transaction) = row.try_get(columns + 1)? {
                written = Written::By(transaction);
            }
        }
        Ok((result, written))
    }

    /// Runs one statement of an open transaction.
    pub(super) async fn statement(
        &mut self,
        index: u32,
        statement: &Prepared<'_>,
    ) -> Result<proto::StatementResult, StatementFailure> {
        match statement {
            Prepared::Simple(script) => {
                self.connection.batch_execute(script).await?;
                Ok(proto::StatementResult::default())
            }
            Prepared::Extended { statement, parameters, references, expected_rows } => {
                let parameters = self.first_rows.fill(parameters, references).map_err(StatementFailure::Unmet)?;
                let parameters: Vec<_> = parameters.into_iter().map(Encoded).collect();
                let mut stream = pin!(self.connection.query_raw(statement, parameters).await?);
                let mut rows = Vec::new();
                while let Some(row) = stream.try_next().await? {
                    self.first_rows.offer(index, || copied(&row));
                    self.keep(values::of_row(&row), &mut rows);
                }
                let found = stream.rows_affected().unwrap_or(0);
                match *expected_rows {
                    Some(expected) if expected != found => {
                        Err(StatementFailure::Unmet(Unmet::Rows { expected, found }))
                    }
                    _ => Ok(proto::StatementResult { rows_affected: found, rows }),
                }
            }
        }
    }

    pub(super) fn has_dropped_rows(&self) -> bool {
        self.rows_dropped
    }

    /// Keeps a row of the answer. Past the limit, rows are read and dropped: the transaction is committed nevertheless,
    /// and the caller has to learn that.
    fn keep(&mut self, list: Bytes, rows: &mut Vec<Bytes>) {
        let bytes = list.len() + ROW_OVERHEAD_BYTES;
        if self.rows_dropped || bytes > self.rows_bytes_left {
            self.rows_dropped = true;
            rows.clear();
        } else {
            self.rows_bytes_left -= bytes;
            rows.push(list);
        }
    }

    /// Tells whether a script began a transaction that it did not end, and rolls it back. A savepoint can only be set
    /// inside of a transaction. If the connection is lost over the question, an open transaction ended with it.
    async fn is_left_open(&self, statement: &Prepared<'_>) -> bool {
        if !matches!(statement, Prepared::Simple(_)) {
            return false;
        }
        match self.connection.batch_execute("SAVEPOINT homing").await {
            Err(error) if error.code() == Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION) => false,
            Ok(()) | Err(_) => {
                self.roll_back().await;
                true
            }
        }
    }

    /// Rolls back. If that fails, the connection is broken, and the server rolls back by itself.
    async fn roll_back(&self) {
        if let Err(error) = self.connection.batch_execute("ROLLBACK").await {
            warn!(%error, "cannot roll back: closing the connection");
        }
    }

    /// Returns the results for the answer.
    fn results(&self, mut results: Vec<proto::StatementResult>) -> proto::StatementResults {
        if self.rows_dropped {
            results.iter_mut().for_each(|result| result.rows.clear());
        }
        proto::StatementResults { results, rows_dropped: self.rows_dropped }
    }

    fn committed(&self, results: proto::StatementResults, position: Probed, written: Written) -> RunOutcome {
        let not_replicated = self.connection.take_not_replicated();
        RunOutcome::Committed { results, position, written, not_replicated }
    }
}

/// Why a statement ends its transaction.
#[derive(Debug)]
pub(super) enum StatementFailure {
    Failed(tokio_postgres::Error),

    /// It did not meet a requirement of the request.
    Unmet(Unmet),
}

impl StatementFailure {
    fn ended(self, statement: u32, commit: Commit) -> Result<RunOutcome, Failure> {
        match self {
            Self::Failed(error) => rejected(Some(statement), &error, commit),
            Self::Unmet(unmet) => Ok(RunOutcome::Unmet { statement, unmet }),
        }
    }
}

impl From<tokio_postgres::Error> for StatementFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

/// Whether a commit was under way when the connection reported an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    WasNotSent,
    MayHaveHappened,
}

pub(super) fn rejected(
    statement: Option<u32>,
    error: &tokio_postgres::Error,
    commit: Commit,
) -> Result<RunOutcome, Failure> {
    match (error.as_db_error(), commit) {
        // A server that is shutting down may report this after the commit, while it waits for a synchronous replica.
        (Some(error), Commit::MayHaveHappened) if is_fatal(error) => Err(Failure::Unknown(format!(
            "the database ended the connection during the transaction: {}",
            error.message()
        ))),
        (Some(error), Commit::WasNotSent) if is_fatal(error) => Err(Failure::unavailable(format!(
            "the database ended the connection before the commit: {}",
            error.message()
        ))),
        (Some(error), _) => Ok(RunOutcome::Rejected { statement, error: Box::new(error.into()) }),
        (None, Commit::WasNotSent) => {
            Err(Failure::unavailable(format!("the connection to the database was lost before the commit: {error}")))
        }
        (None, Commit::MayHaveHappened) => {
            Err(Failure::Unknown(format!("the connection to the database was lost during the transaction: {error}")))
        }
    }
}

/// Copies the values of a row.
fn copied(row: &Row) -> Vec<Option<Bytes>> {
    (0..row.len()).map(|index| row.get::<_, Raw<'_>>(index).0.map(Bytes::copy_from_slice)).collect()
}

pub(super) fn is_fatal(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
}

/// The bytes of a row in a message besides its values: the tag and the length of the field.
const ROW_OVERHEAD_BYTES: usize = 6;
