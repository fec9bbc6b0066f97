//! The calls of a handle in a transaction.

use homing_proto::v1 as proto;
use proto::transact_request::Step as Asked;
use proto::transact_response::Outcome;
use tokio::time::Instant;

use super::exchange::Answer;
use crate::error::{Error, Result};
use crate::primary::Executed;
use crate::repo::Repo;
use crate::repo::call::Answered;
use crate::repo::statement::Parameters;
use crate::repo::write::{Output, outputs, report};
use crate::statement::description::StatementDescription;
use crate::statement::kind::RunsOn;
use crate::statement::sql;
use crate::statement::values;
use crate::transaction::Isolation;
use crate::transaction::{Aborted, Handle, SavepointId, Transaction, read_only};

/// What is known of a statement before PostgreSQL is asked.
///
/// Closed: a statement is made here, or it is the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum Intent {
    /// It writes.
    Writes,

    /// PostgreSQL will say.
    Unknown,
}

impl Repo {
    /// Runs statements within the transaction of this handle, and makes of their outputs what the caller asked for.
    pub(in crate::repo) async fn run_within<T>(
        &self,
        handle: &Handle,
        operation: &'static str,
        statements: &[(&str, &Parameters<'_>)],
        intent: Intent,
        read: impl FnOnce(Vec<Output>) -> Result<T>,
    ) -> Result<T> {
        let transaction = handle.transaction()?;
        transaction.savepoints().check(handle.level)?;
        for (sql, _) in statements {
            self.check_access(&transaction, sql, intent)?;
        }
        let within = Within { repo: self, transaction: &transaction, handle };
        let run = async {
            let started = Instant::now();
            // On the heap: the compiler looks into a future only so deep.
            let (executed, descriptions) = Box::pin(within.run_twice(statements)).await?;
            let report = report(operation, started, &executed.trip, None);
            Ok(Answered::new(outputs(executed, &descriptions).and_then(read), report))
        };
        self.reported(operation, run).await
    }

    /// The types of a statement, as the transaction of this handle sees them.
    pub(in crate::repo) async fn describe_within(&self, handle: &Handle, sql: &str) -> Result<StatementDescription> {
        let transaction = handle.transaction()?;
        transaction.savepoints().check(handle.level)?;
        Within { repo: self, transaction: &transaction, handle }.description(sql).await
    }

    /// Asks the transaction's own connection for the types of statements anew.
    pub(in crate::repo) async fn describe_again_within<'a>(
        &self,
        handle: &Handle,
        statements: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        let transaction = handle.transaction()?;
        let within = Within { repo: self, transaction: &transaction, handle };
        for sql in statements {
            self.descriptions().forget(sql);
            within.prepare(sql).await?;
        }
        Ok(())
    }

    /// Runs statements that are encoded already, and that write, within the transaction of this handle.
    pub(in crate::repo) async fn run_encoded_within(
        &self,
        handle: &Handle,
        statements: Vec<proto::Statement>,
    ) -> Result<Executed> {
        let transaction = handle.transaction()?;
        if transaction.is_read_only() {
            return Err(read_only(None));
        }
        transaction.note_schema_changes(statements.iter().map(|statement| &*statement.sql));
        self.exchange_statements(&transaction, handle.level, statements).await
    }

    /// Sends encoded statements as one step.
    pub(super) async fn exchange_statements(
        &self,
        transaction: &Transaction,
        level: SavepointId,
        statements: Vec<proto::Statement>,
    ) -> Result<Executed> {
        let list = proto::StatementList { statements };
        let Answer { outcome, trip } = self.exchange(transaction, level, Asked::Run(list)).await?;
        let Outcome::Results(proto::StatementResults { results, rows_dropped }) = outcome else {
            return Err(Error::decode("the primary answered a statement in a way that this build cannot read"));
        };
        Ok(Executed { results, rows_dropped, position: None, unchanged: false, trip })
    }

    /// Runs a script within the transaction of this handle.
    pub(in crate::repo) async fn run_script_within(&self, handle: &Handle, script: &str) -> Result<()> {
        let transaction = handle.transaction()?;
        transaction.savepoints().check(handle.level)?;
        sql::check_script_in_transaction(script)?;
        let operation = "batch_execute";
        let run = async {
            let started = Instant::now();
            // Whatever is in it.
            transaction.note_schema_change();
            let statement = proto::Statement { sql: script.to_owned(), simple: true, ..proto::Statement::default() };
            let executed = self.exchange_statements(&transaction, handle.level, vec![statement]).await?;
            Ok(Answered::new(Ok(()), report(operation, started, &executed.trip, None)))
        };
        self.reported(operation, run).await
    }

    /// What a transaction cannot do is refused before anything is sent.
    fn check_access(&self, transaction: &Transaction, sql: &str, intent: Intent) -> Result<()> {
        if intent == Intent::Writes {
            return if transaction.is_read_only() { Err(read_only(None)) } else { Ok(()) };
        }
        // A lock on a replica would lock nobody out: it counts as a write.
        let writes = sql::destination_in_transaction(sql)? == RunsOn::Primary || self.descriptions().writes(sql);
        if writes && transaction.is_read_only() {
            return Err(read_only(None));
        }
        Ok(())
    }
}

/// A handle and its transaction.
#[derive(Clone, Copy)]
struct Within<'a> {
    repo: &'a Repo,
    transaction: &'a Transaction,
    handle: &'a Handle,
}

impl Within<'_> {
    /// Where the schema has changed under what is remembered of the statements, once more.
    async fn run_twice(&self, statements: &[(&str, &Parameters<'_>)]) -> Result<(Executed, Vec<StatementDescription>)> {
        match self.run(statements).await {
            Err(error) if error.is_stale() => {
                let statements_of = statements.iter().map(|(sql, _)| *sql);
                self.repo.describe_again_within(self.handle, statements_of).await?;
                self.run(statements).await
            }
            outcome => outcome,
        }
    }

    async fn run(&self, statements: &[(&str, &Parameters<'_>)]) -> Result<(Executed, Vec<StatementDescription>)> {
        let mut encoded = Vec::with_capacity(statements.len());
        let mut descriptions = Vec::with_capacity(statements.len());
        for (sql, parameters) in statements {
            let description = self.description(sql).await?;
            encoded.push(proto::Statement {
                sql: (*sql).to_owned(),
                parameter_types: description.parameter_oids(),
                parameters: values::encode(parameters, &description.parameters)?,
                column_types: description.column_oids(),
                ..proto::Statement::default()
            });
            descriptions.push(description);
        }
        self.transaction.note_schema_changes(statements.iter().map(|(sql, _)| *sql));
        let executed = self.repo.exchange_statements(self.transaction, self.handle.level, encoded).await;
        if let Err(error) = &executed
            && self.transaction.is_read_only()
            && error.is_misuse()
            && error.db().is_some()
            && let [(sql, _)] = statements
        {
            self.repo.descriptions().remember_that_it_writes(sql);
        }
        Ok((executed?, descriptions))
    }

    /// The types of a statement. The replica here is asked where that saves a round trip, but not of what only this
    /// transaction can know, or has locked.
    async fn description(&self, sql: &str) -> Result<StatementDescription> {
        let Self { repo, transaction, .. } = self;
        if let Some(description) = transaction.description(repo.schema(), sql) {
            return Ok(description);
        }
        if !transaction.has_changed_schema() {
            if let Some(description) = repo.descriptions().description(sql) {
                return Ok(description);
            }
            if !self.is_answered_here()
                && let Some(description) = self.describe_locally(sql).await?
            {
                repo.descriptions().remember(sql, &description);
                return Ok(description);
            }
        }
        self.prepare(sql).await
    }

    /// What PostgreSQL refuses to prepare here aborts the transaction as it would there: a transaction is to be the same
    /// in all regions.
    async fn describe_locally(&self, sql: &str) -> Result<Option<StatementDescription>> {
        let deadline = Instant::now() + self.repo.options().call_timeout;
        let description = self.repo.describe_here(sql, self.transaction.deadline.min(deadline)).await;
        if let Err(error) = &description
            && error.db().is_some()
        {
            self.transaction.savepoints().fail(Aborted::by(error));
        }
        description
    }

    /// The types as the transaction's own connection knows them: one round trip.
    async fn prepare(&self, sql: &str) -> Result<StatementDescription> {
        let step = Asked::Prepare(sql.to_owned());
        let answer = self.repo.exchange(self.transaction, self.handle.level, step).await?;
        let description = match answer.outcome {
            Outcome::Prepared(statement) => StatementDescription::from_proto(statement),
            _ => None,
        };
        let description = description.ok_or_else(|| {
            Error::not_sent(
                "the primary described the statement in a way that this build cannot read: update this node",
            )
        })?;
        self.transaction.remember(self.repo.schema(), sql, &description);
        if !self.transaction.has_changed_schema() {
            self.repo.descriptions().remember(sql, &description);
        }
        Ok(description)
    }

    /// Whether asking the transaction's own connection costs no round trip to another region. Before the first
    /// statement: whether that is to be expected.
    fn is_answered_here(&self) -> bool {
        let options = &self.transaction.options;
        let reads_here = || {
            self.transaction.is_read_only()
                && options.isolation != Isolation::Serializable
                && self.repo.database().is_some_and(|database| database.role().is_some())
        };
        self.transaction.is_here().unwrap_or_else(|| self.repo.primary().local_primary().is_some() || reads_here())
    }
}
