//! [`Pinned`], the connection of an interactive transaction, and the steps that run on it.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::{join, join3};
use homing_proto::v1 as proto;
use proto::savepoint_command::Command;
use proto::transact_request::Step;
use proto::transact_response::Outcome;
use proto::transaction_ended::Cause;
use tokio::time::timeout;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tracing::warn;

use super::commands::{begin_sql, savepoint_sql};
use crate::connection::open::Cancellation;
use crate::connection::pool::Connection;
use crate::connection::set::{Lifetime, SetCommand};
use crate::connection::statements::PreparedStatements;
use crate::error::database::DatabaseError;
use crate::executor::failure::Failure;
use crate::executor::keyed::claims::Claim;
use crate::executor::prepared::Prepared;
use crate::executor::probe::{Probed, Questions};
use crate::executor::run::{RequestRun, StatementFailure, is_fatal};
use crate::executor::silence::{LIMIT_SILENCE, give_sign_of_life};
use crate::position::role::{IS_REPLICA, Role};
use crate::scope::Scope;
use crate::scope::schema::Schema;
use crate::scope::settings::Settings;
use crate::statement::description::StatementDescription;
use crate::statement::kind::{Ask, Written};
use crate::statement::sql;

/// A connection with an open transaction. Only [`finish`](Self::finish) gives it back to the pool. A connection that is
/// dropped in any other way is closed.
#[derive(Debug)]
pub(crate) struct Pinned {
    connection: Option<Connection>,
    /// Statements that were prepared within this transaction. Its locks keep them from going stale, which would abort
    /// it.
    prepared: PreparedStatements,
    max_rows_bytes: usize,
    /// What to ask at the commit.
    ask: Ask,
    /// The key to claim at the commit.
    pub(crate) claim: Option<Claim>,
    /// The settings that the first step sets.
    settings: Settings,
    /// The connection's current search path, or `None` if it is unknown because of a rollback.
    search_path: Option<SearchPath>,
    status: BlockStatus,
    /// Whether the connection may be in a state that a rollback does not repair.
    in_doubt: bool,
    /// Whether a script ran, which may leave any state behind.
    is_scripted: bool,
    /// Whether a statement called `set_config`, which may turn `synchronous_commit` off.
    is_configured: bool,
}

/// The search path of the connection.
#[derive(Debug, PartialEq, Eq)]
enum SearchPath {
    OfTheRole,
    Schema(Schema),
}

impl SearchPath {
    fn enter(&self) -> &str {
        match self {
            Self::OfTheRole => "SET LOCAL search_path TO DEFAULT",
            Self::Schema(schema) => schema.enter_transaction(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockStatus {
    Open,
    Aborted,
    Over,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum StepOutcome {
    /// The transaction goes on.
    Open(Outcome),

    /// The transaction is over, without a commit or with one whose outcome is unknown.
    Over(Outcome),

    /// The transaction was rolled back at its commit: its key was claimed by another request, or settled.
    Taken,

    /// The transaction is over and committed.
    Committed {
        position: Probed,
        written: Written,
        /// Whether the wait for a synchronous replica was cancelled.
        not_replicated: bool,
    },
}

impl Pinned {
    /// Begins a transaction, and returns the role of its server.
    ///
    /// The role is asked for before BEGIN. No statement may come between BEGIN and the caller's first one, which may be
    /// a LOCK TABLE that has to come before the snapshot.
    pub(crate) async fn begin(
        connection: Connection,
        begin: &proto::BeginTransaction,
        max_rows_bytes: usize,
        ask: Ask,
        claim: Option<Claim>,
    ) -> Result<(Self, Role), Failure> {
        let scope = Scope::from_wire(&begin.database).map_err(|error| Failure::bad_request(error.to_string()))?;
        let sql = match begin.read_only {
            true => begin_sql(begin),
            false => format!("{}; {LIMIT_SILENCE}", begin_sql(begin)),
        };
        let mut pinned = Self {
            connection: Some(connection),
            prepared: PreparedStatements::new(MAX_STATEMENTS),
            max_rows_bytes,
            ask,
            claim,
            settings: scope.local.settings,
            search_path: Some(SearchPath::OfTheRole),
            status: BlockStatus::Open,
            in_doubt: true,
            is_scripted: false,
            is_configured: false,
        };
        let connection = pinned.connection();
        let asked = async {
            let statement = connection.statement(&format!("select {IS_REPLICA}")).await?;
            let (row, begun) = join(connection.query_one(&statement, &[]), connection.batch_execute(&sql)).await;
            Ok::<_, tokio_postgres::Error>((row?.try_get::<_, bool>(0)?, begun))
        };
        let lost = |error| Failure::unavailable(format!("the database did not begin the transaction: {error}"));
        let (is_replica, begun) = asked.await.map_err(lost)?;
        let role = if is_replica { Role::Replica } else { Role::Primary };
        match begun {
            Ok(()) => pinned.in_doubt = false,
            // A replica refuses BEGIN with options that only a primary supports. Its role is the better answer.
            Err(_) if role == Role::Replica => {}
            Err(error) => return Err(lost(error)),
        }
        Ok((pinned, role))
    }

    /// Tells the server that this node is there, while the transaction waits for its next request.
    pub(crate) fn give_sign_of_life(&self) {
        give_sign_of_life(self.connection());
    }

    pub(crate) fn cancellation(&self) -> Cancellation {
        self.connection().cancellation()
    }

    /// Notes that a cancel request was sent, which may arrive late.
    pub(crate) fn mark_in_doubt(&mut self) {
        self.in_doubt = true;
    }

    pub(crate) async fn step(&mut self, request: proto::TransactRequest) -> StepOutcome {
        // Before all savepoints, so that no rollback to one undoes them.
        let settings = std::mem::take(&mut self.settings);
        if let Err(error) = self.set(&settings).await {
            return self.failed(None, &error);
        }
        if let Err(error) = self.savepoints(&request.savepoints).await {
            return StepOutcome::Over(ended(
                Cause::BadRequest,
                format!("the database refused a savepoint command: {error}"),
            ));
        }
        if !matches!(request.step, Some(Step::Commit(_) | Step::CommitOnce(_)))
            && let Err(step) = self.enter(request.schema).await
        {
            return step;
        }
        match request.step {
            Some(Step::Run(list)) => self.run(&list.statements).await,
            Some(Step::Prepare(sql)) => self.prepare(&sql).await,
            Some(Step::Commit(_)) => self.commit(None).await,
            Some(Step::CommitOnce(once)) => self.commit(Some(once)).await,
            None => StepOutcome::Over(ended(Cause::BadRequest, "the request has no step")),
        }
    }

    /// Rolls back an open transaction, and gives the connection back to the pool unless its state is in doubt.
    pub(crate) async fn finish(mut self) {
        if self.status != BlockStatus::Over && !self.in_doubt {
            let rolled_back = timeout(ROLLBACK_TIMEOUT, self.connection().batch_execute("ROLLBACK")).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                warn!("cannot roll back: closing the connection");
                self.in_doubt = true;
            }
        }
        if !self.in_doubt && !self.is_scripted {
            // Dropping a connection gives it back to the pool.
            self.connection = None;
        }
    }

    async fn savepoints(&mut self, commands: &[proto::SavepointCommand]) -> Result<(), tokio_postgres::Error> {
        let commands: Vec<Command> = commands.iter().filter_map(|command| command.command).collect();
        if commands.is_empty() {
            return Ok(());
        }
        let script: String = commands.iter().map(savepoint_sql).collect();
        self.connection().batch_execute(&script).await?;
        if commands.iter().any(|command| matches!(command, Command::RollBack(_))) {
            self.status = BlockStatus::Open;
            self.search_path = None;
            self.forget();
        }
        Ok(())
    }

    /// Sets the settings for the rest of the transaction.
    async fn set(&self, settings: &Settings) -> Result<(), tokio_postgres::Error> {
        SetCommand::prepare(self.connection(), settings, Lifetime::Transaction).await?.run().await
    }

    /// Sets the search path to the step's schema.
    async fn enter(&mut self, schema: String) -> Result<(), StepOutcome> {
        let wanted = if schema.is_empty() {
            SearchPath::OfTheRole
        } else {
            SearchPath::Schema(
                Schema::new(&schema).map_err(|error| StepOutcome::Over(ended(Cause::BadRequest, error.to_string())))?,
            )
        };
        if self.search_path.as_ref() == Some(&wanted) || self.status == BlockStatus::Aborted {
            return Ok(());
        }
        let entered = self.connection().batch_execute(wanted.enter()).await;
        // Statements that were prepared in another schema may mean other tables.
        self.prepared.clear();
        self.search_path = entered.is_ok().then_some(wanted);
        entered.map_err(|error| self.failed(None, &error))
    }

    async fn run(&mut self, statements: &[proto::Statement]) -> StepOutcome {
        if let [statement] = statements
            && statement.simple
        {
            return self.script(&statement.sql).await;
        }
        let mut prepared = Vec::with_capacity(statements.len());
        self.is_configured |= statements.iter().any(|statement| sql::sets_by_function(&statement.sql));
        for (index, statement) in (0..).zip(statements) {
            let known = match self.statement(&statement.sql).await {
                Ok(known) => known,
                Err(error) => return self.failed(Some(index), &error),
            };
            match Prepared::extended(known, statement, &prepared) {
                Ok(statement) => prepared.push(statement),
                Err(failure) => return not_executed(failure),
            }
        }
        self.run_prepared(statements, &prepared).await
    }

    async fn run_prepared(&mut self, statements: &[proto::Statement], prepared: &[Prepared<'_>]) -> StepOutcome {
        let mut results = Vec::with_capacity(prepared.len());
        let mut failed = None;
        let mut running = RequestRun::new(self.connection(), self.max_rows_bytes).referring_to(prepared);
        for (index, statement) in (0..).zip(prepared) {
            match running.statement(index, statement).await {
                Ok(result) => results.push(result),
                Err(error) => {
                    failed = Some((index, error));
                    break;
                }
            }
        }
        let rows_dropped = running.has_dropped_rows();
        if statements.iter().any(|statement| sql::may_change_schema(&statement.sql)) {
            self.forget();
        }
        match failed {
            Some((index, StatementFailure::Failed(error))) => return self.failed(Some(index), &error),
            Some((index, StatementFailure::Unmet(unmet))) => {
                // The statement was executed and must not be committed.
                self.status = BlockStatus::Aborted;
                let rejection = proto::Rejection { statement: Some(index), cause: Some(unmet.into()) };
                return StepOutcome::Open(Outcome::Rejection(rejection));
            }
            None => {}
        }
        if rows_dropped {
            let message = "the rows of a statement are larger than a message may be: read fewer rows at a time";
            return StepOutcome::Over(ended(Cause::RowsTooLarge, message));
        }
        StepOutcome::Open(Outcome::Results(proto::StatementResults { results, rows_dropped: false }))
    }

    async fn script(&mut self, script: &str) -> StepOutcome {
        self.is_scripted = true;
        let ran = self.connection().batch_execute(script).await;
        self.forget();
        match ran {
            Ok(()) => StepOutcome::Open(Outcome::Results(proto::StatementResults {
                results: vec![proto::StatementResult::default()],
                rows_dropped: false,
            })),
            Err(error) => self.failed(Some(0), &error),
        }
    }

    async fn prepare(&mut self, sql: &str) -> StepOutcome {
        match self.statement(sql).await {
            Ok(statement) => StepOutcome::Open(Outcome::Prepared(StatementDescription::of(&statement).to_proto())),
            Err(error) => self.failed(None, &error),
        }
    }

    /// Commits, and claims the key if `once` says so. An aborted transaction is rejected without a COMMIT, because PostgreSQL
    /// would roll back and report success.
    async fn commit(&mut self, once: Option<proto::CommitOnce>) -> StepOutcome {
        if self.status == BlockStatus::Aborted {
            let error = proto::DatabaseError {
                severity: "ERROR".into(),
                code: SqlState::IN_FAILED_SQL_TRANSACTION.code().into(),
                message: "current transaction is aborted".into(),
                ..proto::DatabaseError::default()
            };
            return StepOutcome::Over(rejection(None, error));
        }
        let connection = self.connection();
        let (claim, result) = match &once {
            Some(once) => (self.claim.as_ref(), once.result.as_deref()),
            None => (None, None),
        };
        let Ok(questions) = Questions::prepare(connection, self.ask, claim).await else {
            self.in_doubt = true;
            return StepOutcome::Over(ended(Cause::DatabaseLost, "the database was lost before the commit"));
        };
        let is_flushed_first = self.is_scripted || self.is_configured;
        let commit = if is_flushed_first { FLUSHED_COMMIT } else { "COMMIT" };
        // Sent one behind the other, as in `RequestRun::several`.
        let (written, commit, log) =
            join3(questions.written(result), connection.batch_execute(commit), questions.log()).await;
        let position = questions.position(log, *written.as_ref().unwrap_or(&Written::Unknown));
        let is_taken =
            claim.is_some() && written.as_ref().is_err_and(|error| error.code() == Some(&SqlState::UNIQUE_VIOLATION));
        self.status = BlockStatus::Over;
        // The transaction may still be open if the question before the COMMIT failed.
        self.in_doubt |= is_flushed_first && commit.is_err();
        if is_taken {
            return StepOutcome::Taken;
        }
        match written.and_then(|written| commit.map(|()| written)) {
            Ok(written) => {
                let not_replicated = self.connection().take_not_replicated();
                StepOutcome::Committed { position, written, not_replicated }
            }
            Err(error) => match error.as_db_error() {
                Some(refused) if !is_fatal(refused) => {
                    StepOutcome::Over(rejection(None, DatabaseError::from(refused).to_proto()))
                }
                // A server that is shutting down may report this after the commit.
                _ => {
                    self.in_doubt = true;
                    let message = format!("the connection to the database was lost during the commit: {error}");
                    StepOutcome::Over(Outcome::CommitUnknown(proto::CommitUnknown { message }))
                }
            },
        }
    }

    fn failed(&mut self, statement: Option<u32>, error: &tokio_postgres::Error) -> StepOutcome {
        match error.as_db_error() {
            Some(refused) if !is_fatal(refused) => {
                self.status = BlockStatus::Aborted;
                StepOutcome::Open(rejection(statement, DatabaseError::from(refused).to_proto()))
            }
            _ => {
                self.in_doubt = true;
                let message = format!("the connection to the database was lost: {error}");
                StepOutcome::Over(ended(Cause::DatabaseLost, message))
            }
        }
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.prepared.get_or_prepare(self.connection(), sql).await
    }

    /// Forgets all prepared statements, because the database's schema may have changed.
    fn forget(&mut self) {
        self.prepared.clear();
        self.connection().forget_statements();
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("taken when this is dropped")
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.discard();
        }
    }
}

impl StepOutcome {
    /// Returns the outcome after a cancel request. The transaction is over: a late request might hit its next
    /// statement.
    pub(crate) fn after_cancellation(self) -> Self {
        match self {
            Self::Open(_) => {
                Self::Over(ended(Cause::TimeLimit, "a statement exceeded its time limit and was cancelled"))
            }
            Self::Over(Outcome::Rejection(proto::Rejection {
                cause: Some(proto::rejection::Cause::DatabaseError(error)),
                ..
            })) if error.code == SqlState::QUERY_CANCELED.code() => {
                Self::Over(ended(Cause::TimeLimit, "the commit exceeded its time limit and was cancelled"))
            }
            step => step,
        }
    }
}

pub(crate) fn ended(cause: Cause, message: impl Into<String>) -> Outcome {
    Outcome::Ended(proto::TransactionEnded { cause: cause.into(), message: message.into() })
}

fn rejection(statement: Option<u32>, error: proto::DatabaseError) -> Outcome {
    Outcome::Rejection(proto::Rejection { statement, cause: Some(proto::rejection::Cause::DatabaseError(error)) })
}

/// Returns the outcome of a step whose statements were not executed. The caller can only repair stale ones.
fn not_executed(failure: Failure) -> StepOutcome {
    match failure {
        Failure::NotExecuted(homing_rpc::Reason::StaleStatement, message) => {
            StepOutcome::Open(Outcome::Stale(proto::StaleTypes { message }))
        }
        Failure::NotExecuted(_, message) | Failure::Settled(_, message) | Failure::Unknown(message) => {
            StepOutcome::Over(ended(Cause::BadRequest, message))
        }
    }
}

/// If the commit did not flush, the position that is read after it would lie before it.
const FLUSHED_COMMIT: &str = "
    SELECT pg_catalog.set_config('synchronous_commit', 'on', true)
    WHERE pg_catalog.current_setting('synchronous_commit') = 'off';
    COMMIT";

/// How many prepared statements one transaction keeps. They take memory in the server too.
const MAX_STATEMENTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// A rollback is quick. If it is not, closing the connection has the same effect.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);
