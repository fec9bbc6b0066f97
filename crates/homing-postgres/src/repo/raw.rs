//! Calls with SQL of the application's own.

use homing_proto::v1 as proto;
use tokio::time::Instant;

use super::Repo;
use super::call::Answered;
use super::read::Local;
use super::statement::Parameters;
use super::transaction::Intent;
use super::write::{Committed, Output, only, report};
use crate::call::options::Wait;
use crate::error::{Error, Result};
use crate::primary::Effect;
use crate::statement::kind::RunsOn;
use crate::statement::row::Row;
use crate::statement::sql;

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
        if let Some(handle) = &self.transaction {
            return Box::pin(self.run_script_within(handle, script)).await;
        }
        let run = async {
            let started = Instant::now();
            let statement = proto::Statement { sql: script.to_owned(), simple: true, ..proto::Statement::default() };
            let deadline = started + self.options().call_timeout;
            let executed = self.primary().execute(vec![statement], Effect::Writes, deadline).await?;
            let report = report("batch_execute", started, &executed.trip, executed.position);
            Ok(self.settle(Committed { value: Ok(()), position: executed.position, report }).await)
        };
        self.reported("batch_execute", run).await
    }

    async fn raw<T: Send + 'static>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<T> {
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)];
            let of_outputs = |outputs| read(only(outputs));
            return Box::pin(self.run_within(handle, operation, statements, Intent::Unknown, of_outputs)).await;
        }
        let destination = sql::destination(sql)?;
        self.reported(operation, self.raw_once(operation, destination, sql, parameters, read)).await
    }

    async fn raw_once<T: Send + 'static>(
        &self,
        operation: &'static str,
        destination: RunsOn,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T>,
    ) -> Result<Answered<T>> {
        if destination == RunsOn::Primary || self.descriptions().writes(sql) || self.is_primary_here() {
            return self.write_perhaps(operation, sql, parameters, read).await;
        }
        match Box::pin(self.try_here(operation, sql, parameters)).await? {
            Local::Rows(answered) => Ok(answered.and_then(read)),
            Local::Writes => {
                self.descriptions().remember_that_it_writes(sql);
                self.write_perhaps(operation, sql, parameters, read).await
            }
            // It may write, so it is sent once. But the replica was just asked for what this session has to see, and is
            // not waited for once more.
            Local::Elsewhere => {
                let mut read = Some(read);
                let once = |output| read.take().expect("called once")(output);
                match self.with_wait(Wait::AtNextRead).write_perhaps(operation, sql, parameters, once).await {
                    Err(error) => {
                        let answered = Box::pin(self.instead(error, operation, sql, parameters)).await?;
                        // What was not sent has no output.
                        Ok(answered.and_then(read.take().expect("not called yet")))
                    }
                    outcome => outcome,
                }
            }
        }
    }

    /// The same handle, whose writes leave waiting to the next read.
    pub(super) fn without_waiting(&self) -> Self {
        match self.options().wait {
            Wait::Now => self.with_wait(Wait::AtNextRead),
            Wait::AtNextRead | Wait::Never => self.clone(),
        }
    }

    fn is_primary_here(&self) -> bool {
        self.choose_here(None, &[]).is_ok_and(|member| member.is_some_and(|member| member.is_local_primary()))
    }
}

/// The only row.
pub(super) fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>> {
    let row = rows.pop();
    if rows.is_empty() {
        return Ok(row);
    }
    Err(Error::too_many_rows("there are several rows where at most one was asked for"))
}
