//! Reads whose rows arrive in chunks.

use super::Repo;
use crate::engine::execute::Parameters;
use crate::entity::{Entity, queries};
use crate::error::Result;
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::reading::rows::{EntityStream, RowStream};
use crate::reading::stream::StreamRequest;
use crate::statement::{sql, values};
use crate::transaction::cursor::open_cursor;

/// # Streams
///
/// Rows that are read one after the other, with a few of them in memory at a time, however many there are: on the replica
/// here, and from the primary where a read would go there. A reader that is slow holds back the database.
///
/// A stream only reads: a statement that writes is misuse, in every region. It is one snapshot. It holds a connection of
/// the pool until it ends or is dropped; half of a pool is for streams at most.
///
/// [`call_timeout`](crate::Options::call_timeout) limits the time to the first row, and then that which the database takes
/// for each further chunk; not the whole. A reader may take ten minutes for a chunk.
///
/// In a transaction it is a cursor: each chunk is a round trip, other calls may come in between, and it ends with the
/// transaction. What PostgreSQL refuses to open a cursor for aborts the transaction like any statement that fails.
impl Repo {
    /// The rows of a statement, while they are read.
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
    /// It returns when the first rows are there. Until then a failure of the replica or of a peer is made good elsewhere;
    /// later ones are told by the stream.
    ///
    /// # Errors
    ///
    /// Misuse, if the statement writes. See [`Error`](crate::Error) for the others.
    pub async fn stream(&self, sql: &str, parameters: &Parameters<'_>) -> Result<RowStream> {
        self.open_stream("stream", sql, parameters).await
    }

    /// The rows that `suffix` leaves, empty for all, while they are read.
    ///
    /// # Errors
    ///
    /// As [`stream`](Self::stream).
    pub async fn stream_all<T: Entity>(&self, suffix: &str, parameters: &Parameters<'_>) -> Result<EntityStream<T>> {
        let rows = self.open_stream("stream_all", &queries::select::<T>(suffix), parameters).await?;
        Ok(EntityStream::new(rows))
    }

    async fn open_stream(&self, operation: &'static str, sql: &str, parameters: &Parameters<'_>) -> Result<RowStream> {
        let engine = &self.engine;
        if let Some(handle) = &self.transaction {
            return Box::pin(open_cursor(engine, handle, operation, sql, parameters)).await;
        }
        values::check_parameter_count(parameters.len())?;
        let runs_on = sql::destination(sql)?;
        let mut request = StreamRequest { operation, sql, parameters };
        let read = Reader::new(engine, runs_on, OnLocalPrimary::Read).read(operation, &mut request);
        engine.reported(operation, read).await
    }
}
