//! Reads whose rows arrive in chunks.

use super::Repo;
use super::entities::check;
use crate::engine::execute::Parameters;
use crate::engine::operation::Operation;
use crate::entity::{Entity, FromRow, queries};
use crate::error::Result;
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::reading::rows::RowStream;
use crate::reading::stream::StreamRequest;
use crate::transaction::cursor::open_cursor;

/// # Streams
///
/// A stream reads rows one after the other and keeps only a few of them in memory, however many there are. Like other
/// reads it goes to the local replica, or to the primary if the replica cannot answer. If the reader is slow, the
/// database waits for it.
///
/// A stream only reads: a statement that writes is misuse in every region. All rows come from one snapshot. A stream
/// holds a connection of the pool until it ends or is dropped. Streams take at most half of a pool.
///
/// [`call_timeout`](crate::Options::call_timeout) limits the time until the first rows, and then the time that the
/// database takes for each further chunk of rows. It does not limit the whole stream. The reader may take ten minutes
/// for a chunk.
///
/// In a transaction a stream is a cursor: each chunk is a round trip, other calls may run in between, and the stream
/// ends with the transaction. If PostgreSQL refuses to open the cursor, the transaction is aborted, as by any failed
/// statement.
impl Repo {
    /// Runs a statement that only reads, and returns a stream of its rows as soon as the first rows have arrived.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let mut rows = repo.stream("select id, name from users where age > $1", &[&18]).await?;
    /// while let Some(row) = rows.next().await {
    ///     println!("{}", row?.get::<_, String>("name"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If a replica or a peer fails before the first rows, the call tries another server. If it fails later, the stream
    /// returns the error.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](crate::Error::is_misuse) if the statement writes, or if a parameter does not fit.
    /// - [`is_not_sent`](crate::Error::is_not_sent) if no database could answer.
    /// - [`is_rejected`](crate::Error::is_rejected) if PostgreSQL refuses the statement.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn stream(&self, sql: &str, parameters: &Parameters<'_>) -> Result<RowStream> {
        self.open_stream(Operation::new("stream"), sql, parameters).await
    }

    /// Runs a statement that only reads, and returns a stream of its rows as structs, by the names of the columns.
    ///
    /// # Errors
    ///
    /// Those of [`stream`](Self::stream). A row that does not fit is an error of the stream.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn stream_as<T: FromRow>(&self, sql: &str, parameters: &Parameters<'_>) -> Result<RowStream<T>> {
        Ok(self.open_stream(Operation::new("stream_as"), sql, parameters).await?.read_as())
    }

    /// Returns a stream of the entities that `suffix` selects; an empty `suffix` selects all.
    ///
    /// # Errors
    ///
    /// Those of [`stream`](Self::stream).
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn stream_all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<RowStream<T>> {
        let operation = Operation::on::<T>("stream_all");
        Ok(self.open_stream(operation, &queries::select::<T>(suffix), parameters).await?.read_as())
    }

    async fn open_stream(&self, operation: Operation<'_>, sql: &str, parameters: &Parameters<'_>) -> Result<RowStream> {
        let (engine, operation) = (&self.engine, operation.with_sql(sql));
        let rows = if let Some(handle) = &self.transaction {
            Box::pin(open_cursor(engine, handle, operation, sql, parameters)).await?
        } else {
            let runs_on = check(sql, parameters).map_err(|error| operation.locate(error))?;
            let mut request = StreamRequest { operation: operation.name, sql, parameters };
            let read = Reader::new(engine, runs_on, OnLocalPrimary::Read).read(operation.name, &mut request);
            engine.reported(operation, read).await?
        };
        Ok(rows.about(operation.subject()))
    }
}
