//! [`TransactionCall`], a call through the handle of a transaction.

use std::sync::Arc;

use homing_proto::v1 as proto;
use proto::transact_request::Step as Asked;
use proto::transact_response::Outcome;
use tokio::time::Instant;

use super::error::read_only;
use super::exchange::{Exchange, StepAnswer};
use super::savepoints::SavepointId;
use super::{Handle, Transaction};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Output, Runner, Statements, execute};
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::primary::execute::Executed;
use crate::statement::description::StatementDescription;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::sql;

/// Runs statements in the transaction of a handle, and decodes their outputs with `read`.
pub(crate) async fn run<T: Send>(
    engine: &Engine,
    handle: &Handle,
    operation: Operation<'_>,
    statements: &(impl Statements + Sync + ?Sized),
    writes: Writes,
    read: impl FnOnce(Vec<Output>) -> Result<T> + Send,
) -> Result<T> {
    let call = TransactionCall::enter(engine, handle).map_err(|error| operation.locate(error))?;
    let checked = statements.texts().try_for_each(|sql| call.check_access(sql, writes));
    checked.map_err(|error| operation.locate(error))?;
    let run = async {
        let started = Instant::now();
        // On the heap: the compiler limits how deep futures may be nested.
        let (executed, descriptions) = Box::pin(execute(statements, &call)).await?;
        let report = executed.trip.report(operation.name, started, None);
        Ok(Answered::new(executed.outputs(&descriptions).and_then(read), report))
    };
    engine.reported(operation, run).await
}

/// Runs a script in the transaction of a handle.
pub(crate) async fn run_script(engine: &Engine, handle: &Handle, operation: Operation<'_>, script: &str) -> Result<()> {
    let call = TransactionCall::enter(engine, handle).map_err(|error| operation.locate(error))?;
    sql::check_script_in_transaction(script).map_err(|error| operation.locate(error))?;
    let run = async {
        let started = Instant::now();
        // The script is not parsed, so it may change the schema.
        call.transaction.note_schema_change();
        let statement = proto::Statement { sql: script.to_owned(), simple: true, ..proto::Statement::default() };
        let executed = call.send(vec![statement]).await?;
        Ok(Answered::new(Ok(()), executed.trip.report(operation.name, started, None)))
    };
    engine.reported(operation, run).await
}

/// A call through the handle of a transaction.
#[derive(Debug)]
pub(super) struct TransactionCall<'a> {
    engine: &'a Engine,
    transaction: Arc<Transaction>,
    savepoint: SavepointId,
}

impl<'a> TransactionCall<'a> {
    /// Begins a call.
    ///
    /// # Errors
    ///
    /// The transaction or its savepoint has ended, or has failed.
    pub(super) fn enter(engine: &'a Engine, handle: &Handle) -> Result<Self> {
        let transaction = handle.transaction()?;
        transaction.savepoints().check(handle.savepoint)?;
        Ok(Self { engine, transaction, savepoint: handle.savepoint })
    }

    /// Sends encoded statements as one step.
    pub(super) async fn send(&self, statements: Vec<proto::Statement>) -> Result<Executed> {
        let StepAnswer { outcome, trip } = self.ask(Asked::Run(proto::StatementList { statements })).await?;
        let Outcome::Results(proto::StatementResults { results, rows_dropped }) = outcome else {
            return Err(Error::decode("the primary sent results that this build cannot read: update this node"));
        };
        Ok(Executed { results, rows_dropped, position: None, unchanged: false, not_replicated: false, trip })
    }

    /// Refuses a write in a transaction that only reads, before anything is sent.
    fn check_access(&self, sql: &str, writes: Writes) -> Result<()> {
        // A lock on a replica would not exclude other transactions, so a locking statement counts as a write.
        let writes = writes == Writes::Yes
            || sql::destination_in_transaction(sql)? == RunsOn::Primary
            || self.engine.descriptions().writes(sql) == Writes::Yes;
        if writes && self.transaction.is_read_only() { Err(read_only(None)) } else { Ok(()) }
    }

    async fn ask(&self, step: Asked) -> Result<StepAnswer> {
        let Self { engine, transaction, savepoint } = self;
        Box::pin(Exchange { engine, transaction }.send(*savepoint, step)).await
    }

    /// Asks the transaction's own connection for the types of a statement, in one round trip.
    async fn prepare(&self, sql: &str) -> Result<StatementDescription> {
        let Self { engine, transaction, .. } = self;
        let description = match self.ask(Asked::Prepare(sql.to_owned())).await?.outcome {
            Outcome::Prepared(statement) => StatementDescription::from_proto(statement),
            _ => None,
        };
        let description = description.ok_or_else(|| {
            Error::not_sent(
                "the primary sent a description of the statement that this build cannot read: update this node",
            )
        })?;
        transaction.remember(engine.schema(), sql, &description);
        if !transaction.has_changed_schema() {
            engine.descriptions().remember(sql, &description);
        }
        Ok(description)
    }

    /// Returns whether the transaction's own connection is in this region. Before the first statement, returns whether
    /// that is to be expected.
    fn is_local(&self) -> bool {
        let Self { engine, transaction, .. } = self;
        let reads_replica = || {
            transaction.reads_replica() && engine.primary().database().is_some_and(|database| database.role().is_some())
        };
        transaction.is_local().unwrap_or_else(|| engine.replicas().local_primary().is_some() || reads_replica())
    }
}

impl Runner for TransactionCall<'_> {
    type Answer = Executed;

    /// Asks the local replica if that saves a round trip, unless the transaction may have changed the schema: only its
    /// own connection knows such changes, and it may hold locks on them.
    async fn describe(&self, sql: &str) -> Result<StatementDescription> {
        let Self { engine, transaction, .. } = self;
        if let Some(description) = transaction.description(engine.schema(), sql) {
            return Ok(description);
        }
        if !transaction.has_changed_schema() {
            if let Some(description) = engine.descriptions().description(sql) {
                return Ok(description);
            }
            let deadline = transaction.deadline.min(engine.deadline());
            if !self.is_local()
                && let Some(description) = engine.describe_locally(sql, deadline).await?
            {
                engine.descriptions().remember(sql, &description);
                return Ok(description);
            }
        }
        self.prepare(sql).await
    }

    async fn describe_again(&self, sql: &str) -> Result<()> {
        self.engine.descriptions().forget(sql);
        self.prepare(sql).await.map(drop)
    }

    async fn run(&self, statements: Vec<proto::Statement>, _: &[StatementDescription]) -> Result<Executed> {
        self.transaction.note_schema_changes(statements.iter().map(|statement| &*statement.sql));
        let only = if let [statement] = &statements[..] { Some(statement.sql.clone()) } else { None };
        let executed = self.send(statements).await;
        if let (Err(error), Some(sql)) = (&executed, only)
            && self.transaction.is_read_only()
            && error.is_misuse()
            && error.db().is_some()
        {
            self.engine.descriptions().remember_writes(&sql, Writes::Yes);
        }
        executed
    }
}
