//! Calls with SQL that the application wrote.

use homing_proto::v1 as proto;
use tokio::time::Instant;

use super::Repo;
use super::entities::at_most_one;
use crate::engine::execute::{Output, Parameters, only};
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::reading::plan::OnLocalPrimary;
use crate::statement::copy::check_copy;
use crate::statement::kind::Writes;
use crate::statement::row::Row;
use crate::transaction::statements::{run, run_script};
use crate::writing::writer::{Committed, Writer};

/// # Raw SQL
///
/// The caller does not say whether a statement writes. It is tried on the local replica. If PostgreSQL answers that it
/// writes (SQLSTATE 25006), it is forwarded to the primary, and later calls with the same statement go there at once.
/// This catches functions with side effects, `nextval`, `SELECT … FOR UPDATE` and data-modifying common table
/// expressions too. Any other error of a replica may come from being one, or from being behind, so the primary is asked
/// before the caller hears of it; only a time limit of the database is final.
///
/// A function may catch the refusal of its write, or take an advisory lock, which locks out nobody on a replica. So a
/// statement runs on the primary if it, or a view that it names, calls a function that PostgreSQL calls
/// [volatile](https://www.postgresql.org/docs/current/xfunc-volatility.html) and that is not written in C. The catalog is
/// asked once for each statement. PostgreSQL takes a function for volatile unless it is declared `STABLE` or `IMMUTABLE`:
/// declare functions that only read as `STABLE`, or name them in
/// [`Options::read_only_functions`](crate::Options::read_only_functions). `CALL`, `DO`, `CHECKPOINT`, `ALTER SYSTEM`,
/// `COPY` with files of the server and functions that change the server run on the primary too.
///
/// Statements that change the state of a PostgreSQL session (`BEGIN`, `SET`, `LISTEN`, `CREATE TEMP TABLE`, session
/// advisory locks) are misuse, since connections are pooled; [`with_setting`](Repo::with_setting) sets something for the
/// calls of a handle. Statements with transaction-level advisory locks go to the primary.
///
/// Parameters are passed as in `tokio_postgres`: `&[&18, &"Ada"]` for `$1` and `$2`.
impl Repo {
    /// Runs a statement and returns its rows.
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
    /// Any of the [four fates](Error), since the statement may write; [`is_misuse`](Error::is_misuse) if a parameter
    /// does not fit or a pooled connection cannot keep the statement.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>> {
        self.raw("query", sql, parameters, |output| Ok(output.rows)).await
    }

    /// Runs a statement and returns its one row.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query); [`is_not_found`](Error::is_not_found) if the statement returns no row,
    /// [`is_too_many_rows`](Error::is_too_many_rows) if it returns several. A statement that writes is committed in
    /// both cases.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_one(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Row> {
        self.raw("query_one", sql, parameters, |output| {
            at_most_one(output.rows)?.ok_or_else(|| Error::not_found("the statement returned no row"))
        })
        .await
    }

    /// Runs a statement and returns its one row, or `None` if it returns no row.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query); [`is_too_many_rows`](Error::is_too_many_rows) if the statement returns several
    /// rows. A statement that writes is committed in this case.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn query_opt(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Option<Row>> {
        self.raw("query_opt", sql, parameters, |output| at_most_one(output.rows)).await
    }

    /// Runs a statement and returns how many rows it affected.
    ///
    /// # Errors
    ///
    /// Those of [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn execute(&self, sql: &str, parameters: &Parameters<'_>) -> Result<u64> {
        self.raw("execute", sql, parameters, |output| Ok(output.rows_affected)).await
    }

    /// Runs a script on the primary: several statements, separated by semicolons, such as a migration.
    ///
    /// The script is one transaction, unless it has transaction commands of its own. Through the handle of a
    /// transaction it is a part of that transaction, and a script with transaction commands is refused before it is
    /// sent.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error). [`is_misuse`](Error::is_misuse) if the script copies from or to the client. If a script that commits by itself is [rejected](Error::is_rejected), the
    /// statements before its last `COMMIT` remain.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn batch_execute(&self, script: &str) -> Result<()> {
        let operation = Operation::new("batch_execute").with_sql(script);
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            return Box::pin(run_script(engine, handle, operation, script)).await;
        }
        check_copy(script).map_err(|error| operation.locate(error))?;
        let run = async {
            let (started, before) = (Instant::now(), engine.session.positions());
            let statement = proto::Statement { sql: script.to_owned(), simple: true, ..proto::Statement::default() };
            let ask_locally = engine.ask_locally(Writes::Yes);
            let executed =
                engine.execute_on_primary(vec![statement], Writes::Yes, ask_locally, engine.deadline()).await?;
            let report = executed.trip.report(operation.name, started, executed.position);
            let (position, not_replicated) = (executed.position, executed.not_replicated);
            let committed = Committed { value: Ok(()), position, before, not_replicated, report };
            Ok(Writer::new(engine, operation.name).settle(committed).await)
        };
        engine.reported(operation, run).await
    }

    pub(super) async fn raw<T: Send + 'static>(
        &self,
        name: &'static str,
        sql: &str,
        parameters: &Parameters<'_>,
        read: impl FnOnce(Output) -> Result<T> + Send,
    ) -> Result<T> {
        let (engine, operation) = (&self.engine, Operation::new(name).with_sql(sql));
        if let Some(handle) = &self.transaction {
            let statements = &[(sql, parameters)][..];
            let read = |outputs| read(only(outputs));
            return Box::pin(run(engine, handle, operation, statements, Writes::Maybe, read)).await;
        }
        self.read_or_write(operation, sql, parameters, Writes::Maybe, OnLocalPrimary::Execute, read).await
    }
}
