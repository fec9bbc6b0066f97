//! [`QueryParts`], the chunks of a stream in their wire format.

use homing_proto::v1 as proto;
use proto::rejection::Cause;
use tonic::Status;

use super::chunks::{Broken, Chunk, Chunks, Streamed};

/// The parts of the answer to a streamed query.
#[derive(Debug)]
pub(crate) struct QueryParts<T> {
    chunks: Option<Chunks<T>>,
    max_row_bytes: usize,
}

impl<T: Streamed> QueryParts<T> {
    pub(crate) fn new(chunks: Chunks<T>, max_row_bytes: usize) -> Self {
        Self { chunks: Some(chunks), max_row_bytes }
    }

    /// Returns the next part, and `None` after the last part or after a rejection.
    pub(crate) async fn next(&mut self) -> Result<Option<proto::QueryPart>, Status> {
        let Some(chunks) = &mut self.chunks else { return Ok(None) };
        let part = match chunks.next().await {
            Ok(chunk) => self.part(chunk),
            Err(Broken::Rejected(error)) => broken(Cause::DatabaseError(error.to_proto())),
            Err(Broken::TooSlow) => broken(Cause::DeadlineExceeded(proto::DeadlineExceeded {})),
            Err(Broken::Stalled) => return Err(Status::aborted("the reader of the stream took no rows for too long")),
            Err(Broken::Failed(failure)) => return Err(failure.into()),
        };
        if part.last || part.rejection.is_some() {
            self.chunks = None;
        }
        Ok(Some(part))
    }

    fn part(&self, chunk: Chunk<T>) -> proto::QueryPart {
        let mut rows = Vec::with_capacity(chunk.rows.len());
        for row in &chunk.rows {
            let list = row.to_wire();
            if list.len() > self.max_row_bytes {
                let (bytes, max_bytes) = (list.len() as u64, self.max_row_bytes as u64);
                return broken(Cause::RowTooLarge(proto::RowTooLarge { bytes, max_bytes }));
            }
            rows.push(list);
        }
        proto::QueryPart {
            rows,
            position: chunk.position.map(|position| position.to_proto("")),
            last: chunk.last,
            rejection: None,
            snapshot: None,
        }
    }
}

fn broken(cause: Cause) -> proto::QueryPart {
    let rejection = proto::Rejection { statement: None, cause: Some(cause) };
    proto::QueryPart { rejection: Some(rejection), ..proto::QueryPart::default() }
}
