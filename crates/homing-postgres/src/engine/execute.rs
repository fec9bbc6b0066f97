//! Runs statements: from their SQL and parameters to their outputs.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use homing_proto::v1 as proto;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tracing::{Instrument, debug_span};

use super::Engine;
use crate::error::{Error, Result};
use crate::primary::execute::Executed;
use crate::statement::description::StatementDescription;
use crate::statement::kind::Writes;
use crate::statement::row::Row;
use crate::statement::values;

/// The parameters of a statement.
pub(crate) type Parameters<'a> = [&'a (dyn ToSql + Sync)];

/// The output of a statement.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) rows_affected: u64,
    pub(crate) rows: Vec<Row>,
}

/// Statements that are sent together.
pub(crate) trait Statements {
    /// Returns the SQL of each statement.
    fn texts(&self) -> impl Iterator<Item = &str>;

    /// Refuses statements that PostgreSQL's protocol cannot hold.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Encodes the parameters by the descriptions, one for each statement.
    fn encode(&self, descriptions: &[StatementDescription]) -> Result<Vec<proto::Statement>>;

    /// Adds to an error which statement it is about.
    fn locate(&self, _statement: usize, error: Error) -> Error {
        error
    }
}

/// Describes statements and runs them: on the primary, or in an interactive transaction.
pub(crate) trait Runner {
    type Answer;

    async fn describe(&self, sql: &str) -> Result<StatementDescription>;

    /// Forgets the types of a statement and asks for them again.
    async fn describe_again(&self, sql: &str) -> Result<()>;

    /// Runs encoded statements that have these descriptions.
    async fn run(
        &self,
        statements: Vec<proto::Statement>,
        descriptions: &[StatementDescription],
    ) -> Result<Self::Answer>;
}

/// Runs statements on the primary, in one transaction.
#[derive(Debug)]
pub(crate) struct PrimaryRunner<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) writes: Writes,
    pub(crate) deadline: Instant,
}

/// Runs statements. If the schema may have changed since they were described, because the primary says so or the
/// parameters do not fit, describes them again and tries once more.
pub(crate) async fn execute<R: Runner>(
    statements: &(impl Statements + ?Sized),
    runner: &R,
) -> Result<(R::Answer, Vec<StatementDescription>)> {
    statements.check()?;
    let descriptions = describe_all(statements, runner).instrument(debug_span!("route")).await?;
    let unfit = match statements.encode(&descriptions) {
        Ok(encoded) => match run(statements, runner, encoded, descriptions).await {
            Err(error) if error.is_stale() => None,
            outcome => return outcome,
        },
        Err(error) => Some(error),
    };
    let describing = distinct(statements).into_keys().map(|sql| runner.describe_again(sql)).collect::<Vec<_>>();
    let described: Result<Vec<()>> =
        stream::iter(describing).buffer_unordered(MAX_DESCRIBED_AT_ONCE).try_collect().await;
    if let Err(error) = described {
        return Err(unfit.unwrap_or(error));
    }
    let descriptions = describe_all(statements, runner).instrument(debug_span!("route")).await?;
    let encoded = statements.encode(&descriptions)?;
    run(statements, runner, encoded, descriptions).await
}

async fn run<R: Runner>(
    statements: &(impl Statements + ?Sized),
    runner: &R,
    encoded: Vec<proto::Statement>,
    descriptions: Vec<StatementDescription>,
) -> Result<(R::Answer, Vec<StatementDescription>)> {
    // On the heap, since the compiler limits how deep futures may be nested, and applications nest further.
    let answer = Box::pin(runner.run(encoded, &descriptions)).await.map_err(|error| match error.statement() {
        Some(statement) => statements.locate(statement as usize, error),
        None => error,
    })?;
    Ok((answer, descriptions))
}

/// Describes equal statements once, and several statements at the same time: if the primary has to be asked, each takes
/// a round trip.
async fn describe_all<R: Runner>(
    statements: &(impl Statements + ?Sized),
    runner: &R,
) -> Result<Vec<StatementDescription>> {
    let describe = async |sql, statement| {
        let description = runner.describe(sql).await.map_err(|error| statements.locate(statement, error))?;
        Ok::<_, Error>((sql, description))
    };
    let describing: Vec<_> =
        distinct(statements).into_iter().map(|(sql, statement)| describe(sql, statement)).collect();
    let known: HashMap<&str, _> =
        stream::iter(describing).buffer_unordered(MAX_DESCRIBED_AT_ONCE).try_collect().await?;
    Ok(statements.texts().map(|sql| known[sql].clone()).collect())
}

/// Returns the distinct texts, each with the index of the first statement that has it.
fn distinct(statements: &(impl Statements + ?Sized)) -> HashMap<&str, usize> {
    let mut distinct = HashMap::new();
    for (statement, sql) in statements.texts().enumerate() {
        distinct.entry(sql).or_insert(statement);
    }
    distinct
}

impl Statements for [(&str, &Parameters<'_>)] {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(sql, _)| *sql)
    }

    fn check(&self) -> Result<()> {
        self.iter().try_for_each(|(_, parameters)| values::check_parameter_count(parameters.len()))
    }

    fn encode(&self, descriptions: &[StatementDescription]) -> Result<Vec<proto::Statement>> {
        let encode = |((sql, parameters), description): (&(&str, &Parameters<'_>), &StatementDescription)| {
            let parameters = values::encode(parameters, &description.parameters)?;
            Ok(description.statement(sql, parameters))
        };
        self.iter().zip(descriptions).map(encode).collect()
    }
}

impl Runner for PrimaryRunner<'_> {
    type Answer = Executed;

    async fn describe(&self, sql: &str) -> Result<StatementDescription> {
        self.engine.describe(sql, self.deadline).await
    }

    async fn describe_again(&self, sql: &str) -> Result<()> {
        self.engine.describe_again(sql, self.deadline).await
    }

    async fn run(&self, statements: Vec<proto::Statement>, _: &[StatementDescription]) -> Result<Executed> {
        let ask_locally = self.engine.ask_locally(self.writes);
        self.engine.execute_on_primary(statements, self.writes, ask_locally, self.deadline).await
    }
}

impl Executed {
    /// Decodes the outputs of the statements by their descriptions.
    pub(crate) fn outputs(self, descriptions: &[StatementDescription]) -> Result<Vec<Output>> {
        if self.rows_dropped && self.results.is_empty() {
            return Err(Error::decode(
                "an earlier attempt was committed, and its result was not kept: see Delivery::ExactlyOnce",
            ));
        }
        if self.rows_dropped {
            return Err(Error::misuse(
                "the rows are larger than a message may be and were dropped: return less, or run the statement in a \
                 named function",
            ));
        }
        if self.results.len() != descriptions.len() {
            return Err(Error::decode(format!(
                "the primary sent {} results for {} statements: update this node",
                self.results.len(),
                descriptions.len()
            )));
        }
        let output = |(result, description): (proto::StatementResult, &StatementDescription)| {
            let rows = Row::all_forwarded(&description.columns, result.rows)?;
            Ok(Output { rows_affected: result.rows_affected, rows })
        };
        self.results.into_iter().zip(descriptions).map(output).collect()
    }
}

/// Returns the output of the only statement.
pub(crate) fn only(outputs: Vec<Output>) -> Output {
    outputs.into_iter().next().expect("one output for each statement")
}

/// Returns the rows of all statements, in order.
pub(crate) fn all_rows(outputs: Vec<Output>) -> Vec<Row> {
    outputs.into_iter().flat_map(|output| output.rows).collect()
}

/// Each description takes a connection of the local database or of the primary.
const MAX_DESCRIBED_AT_ONCE: usize = 4;
