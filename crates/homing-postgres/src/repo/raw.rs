//! Calls with SQL of the application's own.

use homing_proto::v1 as proto;
use tokio::time::Instant;

use super::Repo;
use super::entities::at_most_one;
use crate::engine::execute::{Output, Parameters, only};
use crate::error::{Error, Result};
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::row::Row;
use crate::statement::{sql, values};
use crate::transaction::statements::{run, run_script};
use crate::writing::raw::RawRequest;
use crate::writing::writer::{Committed, Writer};

/// # Raw SQL
///
/// A statement needs no marking. It is tried on the replica here; if PostgreSQL answers that it writes (SQLSTATE
/// 25006), it is forwarded to the primary, and that is remembered about the statement. This catches functions with side
/// effects, `nextval`, `SELECT … FOR UPDATE` and data-modifying common table expressions as well.
///
/// Statements that change the state of a session (`BEGIN`, `SET`, `LISTEN`, `CREATE TEMP TABLE`, session advisory
/// locks) are refused, since connections are pooled. Advisory locks of a transaction go to the primary.
///
/// Parameters are those of `tokio_postgres`: `&[&18, &"Ada"]` for `$1` and `$2`.
impl Repo {
    /// The rows of a statement.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let rows = repo.query("select id, name from users where age > $1", &[&18]).await?;
    /// let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn query(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>> {
        self.raw("query", sql, parameters, |output| Ok(output.rows)).await
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is none, [`is_too_many_rows`](Error::is_too_many_rows) if there
    /// are several. See [`Error`] for the others. If the statement writes, it is committed in both cases.
    pub async fn query_one(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Row> {
        self.raw("query_one", sql, parameters, |output| {
            at_most_one(output.rows)?.ok_or_else(|| Error::no_row("the statement returned no row"))
        })
        .await
    }

    /// The one row of a statement, or none.
    ///
    /// # Errors
    ///
    /// [`is_too_many_rows`](Error::is_too_many_rows) if there are several. See [`Error`] for the others.
    pub async fn query_opt(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Option<Row>> {
        self.raw("query_opt", sql, parameters, |output| at_most_one(output.rows)).await
    }

    /// Runs a statement and returns how many rows it affected.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn execute(&self, sql: &str, parameters: &Parameters<'_>) -> Result<u64> {
        self.raw("execute", sql, parameters, |output| Ok(output.rows_affected)).await
    }

    /// Runs a script, several statements separated by semicolons, on the primary: as one transaction, unless it holds
    /// transaction commands of its own. For migrations and the like. In a transaction it is a part of that, and
    /// transaction commands are refused before it is sent.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn batch_execute(&self, script: &str) -> Result<()> {
        const OPERATION: &str = "batch_execute";
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            return Box::pin(run_script(engine, handle, OPERATION, script)).await;
        }
        let run = async {
            let started = Instant::now();
            let statement = proto::Statement { sql: script.to_owned(), simple: true, ..proto::Statement::default() };
            let executed = engine.primary().execute(vec![statement], Writes::Yes, engine.deadline()).await?;
            let report = executed.trip.report(OPERATION, started, executed.position);
            let committed = Committed { value: Ok(()), position: executed.position, report };
            Ok(Writer::new(engine, OPERATION).settle(committed).await)
        };
        engine.reported(OPERATION, run).await
    }

    async fn raw<T: Send + 'static>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<T> {
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)][..];
            let read = |outputs| read(only(outputs));
            return Box::pin(run(engine, handle, operation, statements, Writes::Maybe, read)).await;
        }
        values::check_parameter_count(parameters.len())?;
        let runs_on = match sql::destination(sql)? {
            RunsOn::Any if !engine.descriptions().writes(sql) => RunsOn::Any,
            _ => RunsOn::Primary,
        };
        let mut request = RawRequest::new(operation, sql, parameters, read);
        let read = Reader::new(engine, runs_on, OnLocalPrimary::Execute).read(operation, &mut request);
        engine.reported(operation, read).await
    }
}
