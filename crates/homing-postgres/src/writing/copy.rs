//! [`CopyIn`], data for a table.

use bytes::Bytes;
use tokio::time::Instant;

use super::writer::{Committed, Writer};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::primary::copy::CopyStream;
use crate::statement::kind::Writes;

/// A `COPY … FROM STDIN` that takes data: see [`Repo::copy_in`](crate::Repo::copy_in).
///
/// Nothing is stored before [`finish`](Self::finish) returns. If it is dropped before, everything is rolled back.
#[derive(Debug)]
pub struct CopyIn {
    engine: Engine,
    sql: String,
    started: Instant,
    stream: CopyStream,
    /// Whether a call failed or was dropped, so that the data may have a gap.
    is_broken: bool,
}

impl CopyIn {
    /// Begins a copy.
    pub(crate) async fn begin(engine: &Engine, sql: &str) -> Result<Self> {
        let begin = async {
            let started = Instant::now();
            let session = engine.history(Writes::Yes);
            let stream = engine.primary().copy_in(sql, &session, engine.deadline()).await;
            let stream = engine.heed(&session, None, stream)?;
            let (engine, sql) = (engine.clone(), sql.to_owned());
            let copy = Self { engine, sql, started, stream, is_broken: false };
            // It is reported at its end.
            Ok(Answered { value: Ok(copy), report: None })
        };
        engine.reported(operation(sql), begin).await
    }

    /// Sends data in the format that the statement names, cut anywhere: a row may begin in one call and end in the next.
    ///
    /// The call returns when the data is on its way. If PostgreSQL is slower than the caller, it waits: at most some hundred
    /// kilobytes are in memory, on this node and on the primary's node.
    ///
    /// # Errors
    ///
    /// Nothing of the copy remains: [`is_not_sent`](Error::is_not_sent) if the connection was lost,
    /// [`is_rejected`](Error::is_rejected) if PostgreSQL ended the copy or takes no data within
    /// [`call_timeout`](crate::Options::call_timeout). Later calls fail too. PostgreSQL reports an invalid row to
    /// [`finish`](Self::finish).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a part of the data may have been sent. Later calls fail, and the copy is rolled back.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<()> {
        let sent = self.send_parts(data.into()).await;
        sent.map_err(|error| operation(&self.sql).locate(error))
    }

    /// Ends the data, commits, and waits for the local replica like any write. Returns the number of rows.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error). [`is_rejected`](Error::is_rejected) if PostgreSQL refuses a row: nothing of the copy
    /// remains.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the copy may be committed or not.
    pub async fn finish(self) -> Result<u64> {
        let broken = self.check();
        let Self { engine, sql, started, stream, .. } = self;
        let finish = async {
            broken?;
            let before = engine.session.positions();
            let executed = stream.finish(started, engine.deadline()).await.inspect_err(|error| {
                if error.db().is_some() {
                    // A duplicate key tells that the row is there, for example.
                    let local = engine.replicas().local_primary();
                    engine.note_unknown_read(local.as_ref().map(|member| member.database()));
                }
            })?;
            engine.check_timeline(executed.position, true)?;
            if let Some(position) = executed.position {
                engine.replicas().heard(position);
            }
            let report = executed.trip.report(OPERATION, started, executed.position);
            let (position, not_replicated) = (executed.position, executed.not_replicated);
            let rows = executed.results.first().map_or(0, |result| result.rows_affected);
            let committed = Committed { value: Ok(rows), position, before, not_replicated, report };
            Ok(Writer::new(&engine, OPERATION).settle(committed).await)
        };
        engine.reported(operation(&sql), finish).await
    }

    async fn send_parts(&mut self, mut data: Bytes) -> Result<()> {
        self.check()?;
        self.is_broken = true;
        while !data.is_empty() {
            let part = data.split_to(data.len().min(PART_BYTES));
            self.stream.send(part, self.engine.deadline()).await?;
        }
        self.is_broken = false;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.is_broken {
            return Err(Error::not_sent(
                "an earlier call failed or was dropped, so the data may have a gap, and the copy is rolled back: begin it again",
            ));
        }
        Ok(())
    }
}

fn operation(sql: &str) -> Operation<'_> {
    Operation::new(OPERATION).with_sql(sql)
}

const OPERATION: &str = "copy_in";

/// Large enough that a message costs little besides its data, small enough that a hundred copies fit into memory.
const PART_BYTES: usize = 64 * 1024;
