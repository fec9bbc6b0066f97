//! Several named steps in one transaction and one round trip.

mod arguments;
mod plan;
mod results;
mod step;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use homing_proto::v1 as proto;
use prost::Message;
use tokio::time::Instant;
use tracing::{Instrument, debug_span};

use self::arguments::Argument;
use self::plan::BatchStatement;
use super::Repo;
use super::call::Answered;
use super::write::{Committed, Output, outputs, report};
use crate::error::{Error, Result};
use crate::primary::{Effect, Executed};
use crate::statement::description::StatementDescription;
use crate::statement::{types, values};
use crate::transaction::Handle;

pub use self::plan::Batch;
pub use self::results::BatchResults;
pub use self::step::{Parameter, Step};

/// # Batches
impl Repo {
    /// Runs the steps of a batch: in order, in one transaction on the primary, and in one round trip from here. Where there
    /// is no replica, the types of statements that are new have to be asked for before, a few statements at a time. A
    /// batch without steps does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::step`] names the step that failed; nothing of any step remains. Misuse and not sent: a parameter is of
    /// another type than its statement takes, a reference leads to no column or to one of another type, or the batch is
    /// larger than a message may be. See [`Error`] for the others.
    pub async fn batch(&self, batch: &Batch<'_>) -> Result<BatchResults> {
        if batch.statements.is_empty() {
            // No steps, or none but those that store no rows.
            return batch.results(Vec::new());
        }
        if self.in_transaction() {
            // All or none of its steps: a level of its own costs no round trip.
            return Box::pin(self.transaction(|level| async move { level.batch_within(batch).await })).await;
        }
        let run = async {
            let started = Instant::now();
            let (executed, descriptions) = self.execute_batch(batch, started).await?;
            let position = executed.position;
            let report = report("batch", started, &executed.trip, position);
            let value = outputs(executed, &descriptions).and_then(|outputs| batch.results(outputs));
            Ok(self.settle(Committed { value, position, report }).await)
        };
        self.reported("batch", run).await
    }

    /// Runs the steps within the transaction of this handle.
    async fn batch_within(&self, batch: &Batch<'_>) -> Result<BatchResults> {
        let Some(handle) = &self.transaction else { return Err(Error::misuse("the handle belongs to no transaction")) };
        let run = async {
            let started = Instant::now();
            let (executed, descriptions) = match self.execute_batch_within(handle, batch).await {
                Err(error) if error.is_stale() => {
                    self.describe_again_within(handle, batch.distinct()).await?;
                    self.execute_batch_within(handle, batch).await?
                }
                outcome => outcome?,
            };
            let report = report("batch", started, &executed.trip, None);
            Ok(Answered::new(outputs(executed, &descriptions).and_then(|outputs| batch.results(outputs)), report))
        };
        self.reported("batch", run).await
    }

    async fn execute_batch_within(
        &self,
        handle: &Handle,
        batch: &Batch<'_>,
    ) -> Result<(Executed, Vec<StatementDescription>)> {
        let mut known: HashMap<&str, StatementDescription> = HashMap::new();
        let mut descriptions = Vec::with_capacity(batch.statements.len());
        for BatchStatement { sql, step, .. } in &batch.statements {
            if !known.contains_key(&**sql) {
                let description = self.describe_within(handle, sql).await;
                known.insert(sql, description.map_err(|error| error.in_step(&batch.steps[*step].name))?);
            }
            descriptions.push(known[&**sql].clone());
        }
        let executed = self.run_encoded_within(handle, batch.encode(&descriptions)?).await;
        Ok((executed.map_err(|error| batch.name_step(error))?, descriptions))
    }

    async fn execute_batch(
        &self,
        batch: &Batch<'_>,
        started: Instant,
    ) -> Result<(Executed, Vec<StatementDescription>)> {
        let deadline = started + self.options.call_timeout;
        match self.execute_batch_once(batch, started, deadline).await {
            Err(error) if error.is_stale() => {
                for sql in batch.distinct() {
                    self.describe_again(sql, deadline).await?;
                }
                self.execute_batch_once(batch, started, deadline).await
            }
            outcome => outcome,
        }
    }

    async fn execute_batch_once(
        &self,
        batch: &Batch<'_>,
        started: Instant,
        deadline: Instant,
    ) -> Result<(Executed, Vec<StatementDescription>)> {
        let descriptions = self.describe_batch(batch, deadline).instrument(debug_span!("route")).await?;
        let statements = batch.encode(&descriptions)?;
        let bytes: usize = statements.iter().map(proto::Statement::encoded_len).sum();
        if bytes > self.rpc_client().max_message_bytes() {
            return Err(Error::misuse(format!(
                "the batch has {bytes} bytes, and a message may have {}: run several, or use a named function",
                self.rpc_client().max_message_bytes()
            )));
        }
        let described = started.elapsed();
        let executed = self.primary().execute(statements, Effect::Writes, deadline).await;
        let mut executed = executed.map_err(|error| batch.name_step(error))?;
        executed.trip.route += described;
        Ok((executed, descriptions))
    }

    /// The descriptions of the statements. Equal statements are described once, several at a time: where the primary has to be
    /// asked, one after the other would take a round trip each.
    async fn describe_batch(&self, batch: &Batch<'_>, deadline: Instant) -> Result<Vec<StatementDescription>> {
        let mut describing = HashMap::new();
        for BatchStatement { sql, step, .. } in &batch.statements {
            let describe = || self.describe_for(Arc::clone(sql), Arc::clone(&batch.steps[*step].name), deadline);
            describing.entry(sql).or_insert_with(describe);
        }
        let describing: Vec<_> = describing.into_values().collect();
        let descriptions =
            stream::iter(describing).buffer_unordered(DESCRIBED_AT_ONCE).try_collect::<HashMap<_, _>>().await?;
        Ok(batch.statements.iter().map(|statement| descriptions[&statement.sql].clone()).collect())
    }

    async fn describe_for(
        &self,
        sql: Arc<str>,
        step: Arc<str>,
        deadline: Instant,
    ) -> Result<(Arc<str>, StatementDescription)> {
        let description = self.describe(&sql, deadline).await;
        Ok((sql, description.map_err(|error| error.in_step(&step))?))
    }
}

impl Batch<'_> {
    /// The SQL of the statements, each once.
    fn distinct(&self) -> impl Iterator<Item = &str> {
        let distinct: HashSet<&str> = self.statements.iter().map(|statement| &*statement.sql).collect();
        distinct.into_iter()
    }

    fn encode(&self, descriptions: &[StatementDescription]) -> Result<Vec<proto::Statement>> {
        let statements = self.statements.iter().zip(descriptions);
        statements
            .map(|(statement, description)| {
                let encoded = self.encode_statement(statement, description, descriptions);
                encoded.map_err(|error| error.in_step(&self.steps[statement.step].name))
            })
            .collect()
    }

    fn encode_statement(
        &self,
        statement: &BatchStatement<'_>,
        description: &StatementDescription,
        all: &[StatementDescription],
    ) -> Result<proto::Statement> {
        let arguments = statement.arguments.list();
        values::check_count(arguments.len(), &description.parameters)?;
        let mut list = BytesMut::new();
        let mut references = Vec::new();
        for (index, (argument, ty)) in arguments.iter().zip(&*description.parameters).enumerate() {
            match argument {
                Argument::Value(value) => values::encode_parameter(index, *value, ty, &mut list)?,
                Argument::Column(reference) => {
                    values::put(&mut list, None);
                    let earlier = &self.steps[reference.step];
                    let column = column_of(&all[earlier.first], &reference.column, &earlier.name)?;
                    let found = all[earlier.first].columns[column].type_();
                    if !types::interchangeable(found, ty) {
                        return Err(Error::misuse(format!(
                            "parameter ${number} is PostgreSQL's {ty}, and column {:?} of step {:?} is {found}: cast it, \
                             as in ${number}::{found}",
                            reference.column,
                            earlier.name,
                            number = index + 1,
                        )));
                    }
                    references.push(proto::Reference {
                        parameter: wire(index),
                        statement: wire(earlier.first),
                        column: wire(column),
                    });
                }
            }
        }
        if !references.is_empty() || statement.expected_rows.is_some() {
            // One too many for a build that would not know what else there is.
            values::put(&mut list, None);
        }
        Ok(proto::Statement {
            sql: statement.sql.to_string(),
            parameter_types: description.parameter_oids(),
            parameters: list.freeze(),
            column_types: description.column_oids(),
            simple: false,
            references,
            expected_rows: statement.expected_rows,
        })
    }

    fn name_step(&self, error: Error) -> Error {
        let statement = error.statement().and_then(|index| self.statements.get(index as usize));
        match statement {
            Some(statement) => error.in_step(&self.steps[statement.step].name),
            None => error,
        }
    }

    fn results(&self, outputs: Vec<Output>) -> Result<BatchResults> {
        let mut outputs = outputs.into_iter();
        let values = self.steps.iter().map(|step| {
            let outputs = outputs.by_ref().take(step.count).collect();
            (step.decode)(outputs).map_err(|error| error.in_step(&step.name))
        });
        Ok(BatchResults::new(self.id, values.collect::<Result<_>>()?))
    }
}

/// The index of a column of an earlier step.
fn column_of(description: &StatementDescription, name: &str, step: &str) -> Result<usize> {
    description.columns.iter().position(|column| column.name() == name).ok_or_else(|| {
        let names: Vec<_> = description.columns.iter().map(|column| column.name()).collect();
        let has = if names.is_empty() { "none: add a returning clause".to_owned() } else { names.join(", ") };
        Error::misuse(format!("step {step:?} returns no column {name:?}: it has {has}"))
    })
}

/// What is counted is bounded far below by PostgreSQL and by `MAX_STATEMENTS`.
fn wire(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Each takes a connection, here or on the primary.
const DESCRIBED_AT_ONCE: usize = 4;
