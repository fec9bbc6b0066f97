//! Copies, whose data is a stream.

use super::Repo;
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::reading::copy::{CopyOut, CopyRequest, OPERATION};
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::statement::copy::{CopyDirection, copy_direction};
use crate::statement::kind::RunsOn;
use crate::writing::copy::CopyIn;

/// # Copies
///
/// [`COPY`](https://www.postgresql.org/docs/current/sql-copy.html) is PostgreSQL's fastest way to store or read many rows. The
/// data is a stream of bytes in PostgreSQL's text, CSV or binary format, and only a little of it is in memory, however much
/// there is. A copy has no parameters. It holds a connection until it ends or is dropped, as a transaction or a stream does.
///
/// A copy is a transaction of its own: these calls are misuse through the handle of a transaction.
impl Repo {
    /// Begins a `COPY … FROM STDIN` on the primary. It returns when PostgreSQL takes data.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let mut copy = repo.copy_in("copy users (name, age) from stdin (format csv)").await?;
    /// for number in 0..1_000_000 {
    ///     copy.send(format!("user {number},{}\n", number % 100)).await?;
    /// }
    /// let rows: u64 = copy.finish().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Nothing is stored unless [`finish`](CopyIn::finish) is called: the copy is rolled back if it is dropped, if the
    /// connection to the primary or the primary's node is lost, and if no data comes for a minute.
    /// [`call_timeout`](crate::Options::call_timeout) limits the time until PostgreSQL takes data, then the time for each
    /// further 64 KiB of it, and the time of the commit. It does not limit the whole copy, which may take a day.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if the statement is not a `COPY … FROM STDIN`, or in a transaction.
    /// - [`is_not_sent`](Error::is_not_sent) if no peer could be reached, or its build is too old.
    /// - [`is_rejected`](Error::is_rejected) if PostgreSQL refuses the statement.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the copy back.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn> {
        let operation = Operation::new("copy_in").with_sql(sql);
        self.check_copy(sql, CopyDirection::In).map_err(|error| operation.locate(error))?;
        CopyIn::begin(&self.engine, sql).await
    }

    /// Runs a `COPY … TO STDOUT`, and returns a stream of its data as soon as the first data has arrived.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo, mut file: impl std::io::Write) -> homing_postgres::Result<()> {
    /// let mut copy = repo.copy_out("copy (select id, name from users) to stdout (format csv, header)").await?;
    /// while let Some(data) = copy.next().await {
    ///     file.write_all(&data?).expect("room on the disk");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Like other reads it goes to the local replica, or to the primary if the replica cannot answer; all data comes from one
    /// snapshot. What is said of [streams](Repo#streams) holds for it too.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if the statement is not a `COPY … TO STDOUT`, if it writes, or in a transaction.
    /// - [`is_not_sent`](Error::is_not_sent) if no database could answer.
    /// - [`is_rejected`](Error::is_rejected) if PostgreSQL refuses the statement.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut> {
        let operation = Operation::new(OPERATION).with_sql(sql);
        self.check_copy(sql, CopyDirection::Out).map_err(|error| operation.locate(error))?;
        let mut request = CopyRequest { sql };
        let read = Reader::new(&self.engine, RunsOn::Any, OnLocalPrimary::Read).read(OPERATION, &mut request);
        Ok(self.engine.reported(operation, read).await?.about(operation.subject()))
    }

    fn check_copy(&self, sql: &str, direction: CopyDirection) -> Result<()> {
        if self.in_transaction() {
            return Err(Error::misuse(
                "a copy is a transaction of its own: begin it through another handle, before or after this transaction",
            ));
        }
        if copy_direction(sql) != Some(direction) {
            return Err(Error::misuse(match direction {
                CopyDirection::In => "copy_in runs COPY … FROM STDIN, and the statement is another one: use execute",
                CopyDirection::Out => "copy_out runs COPY … TO STDOUT, and the statement is another one: use query",
            }));
        }
        Ok(())
    }
}
