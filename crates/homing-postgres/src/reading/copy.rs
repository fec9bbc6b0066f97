//! [`CopyOut`], data of a table or a query.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use homing_proto::v1 as proto;
use tokio::time::Instant;
use tracing::debug;

use super::chosen::Chosen;
use super::opening::{
    ForwardedParts, LocalChunks, Opened, choose_primary, local_error, open_locally, open_on_peer, refusal,
};
use super::plan::WhyPrimary;
use super::reader::{ReadRequest, ReadTiming};
use super::rows::{RowSource, chunked};
use super::server::{RefusedRead, note_read};
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::error::Result;
use crate::executor::Broken;
use crate::primary::query::StreamedAs;
use crate::primary::{Primary, PrimaryRequest};
use crate::replicas::Member;
use crate::statement::refusal::Refusal;

/// The data of [`Repo::copy_out`](crate::Repo::copy_out), as a [`Stream`] with a [`next`](Self::next) of its own.
///
/// The stream ends after the last data or after an error. Data before an error is not all of it. Dropping the stream
/// cancels the statement.
pub struct CopyOut {
    data: BoxStream<'static, Result<Bytes>>,
    /// Names the copy in its errors.
    subject: Option<String>,
}

impl CopyOut {
    fn new(first: (Vec<Bytes>, bool), source: impl RowSource<Bytes>) -> Self {
        Self { data: chunked(first, source), subject: None }
    }

    /// Names the copy in its errors.
    pub(crate) fn about(self, subject: Option<String>) -> Self {
        Self { subject, ..self }
    }

    /// Returns the next data, or `None` after the last. PostgreSQL sends a row at a time; the binary format has a header and
    /// an end besides.
    ///
    /// # Errors
    ///
    /// [`is_not_sent`](crate::Error::is_not_sent) if the connection was lost, and
    /// [`is_rejected`](crate::Error::is_rejected) if PostgreSQL ended the statement. Nothing was changed: the copy may be
    /// begun again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no data is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        StreamExt::next(self).await
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let data = self.data.poll_next_unpin(context);
        data.map_err(|error| match &self.subject {
            Some(subject) => error.about(subject),
            None => error,
        })
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}

/// A `COPY … TO STDOUT`.
#[derive(Debug)]
pub(crate) struct CopyRequest<'a> {
    pub(crate) sql: &'a str,
}

impl CopyRequest<'_> {
    /// It has neither parameters nor columns.
    fn statement(&self) -> proto::Statement {
        proto::Statement { sql: self.sql.to_owned(), ..proto::Statement::default() }
    }
}

impl ReadRequest for CopyRequest<'_> {
    type Output = CopyOut;

    async fn run_on(
        &mut self,
        engine: &Engine,
        chosen: &Chosen,
        deadline: Instant,
    ) -> Result<Result<CopyOut>, RefusedRead> {
        let data = open_on(engine, chosen, self.statement(), deadline).await.map_err(|broken| {
            debug!(?broken, "the local database cannot copy");
            let database = chosen.member.database();
            RefusedRead { refusal: refusal(&broken, database), error: local_error(broken, database) }
        })?;
        let checked = chosen.check().map_err(|error| RefusedRead { refusal: Refusal::Unreachable, error });
        checked.map(|()| Ok(data))
    }

    async fn run_on_primary(
        &mut self,
        engine: &Engine,
        _: WhyPrimary,
        timing: ReadTiming,
    ) -> Result<Answered<CopyOut>> {
        let opening = CopyOpening { engine, statement: self.statement(), deadline: engine.deadline() };
        Ok(engine.primary().send(&opening).await?.answered(OPERATION, timing))
    }
}

struct CopyOpening<'a> {
    engine: &'a Engine,
    statement: proto::Statement,
    deadline: Instant,
}

impl PrimaryRequest for CopyOpening<'_> {
    type Answer = Opened<CopyOut>;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, _: &Primary, member: &Arc<Member>) -> Result<Opened<CopyOut>> {
        self.engine.wait_for_local_primary(self.deadline).await?;
        let chosen = choose_primary(member)?;
        let opened = open_on(self.engine, &chosen, self.statement.clone(), self.deadline).await;
        let data = opened.map_err(|broken| local_error(broken, member.database()))?;
        chosen.check()?;
        note_read(self.engine, member, None, &[]);
        Ok(Opened::locally(data))
    }

    async fn forward(&self, primary: &Primary) -> Result<Opened<CopyOut>> {
        let statement = self.statement.clone();
        let opened = open_on_peer(self.engine, primary, statement, StreamedAs::Data, self.deadline).await?;
        opened.try_map(|(first, parts)| Ok(CopyOut::new((first.rows, first.last), parts)))
    }
}

async fn open_on(
    engine: &Engine,
    chosen: &Chosen,
    statement: proto::Statement,
    deadline: Instant,
) -> Result<CopyOut, Broken> {
    let (first, chunks) = open_locally::<Bytes>(engine, chosen, statement, deadline).await?;
    Ok(CopyOut::new((first.rows, first.last), chunks))
}

impl RowSource<Bytes> for LocalChunks<Bytes> {
    async fn next(&mut self) -> Result<(Vec<Bytes>, bool)> {
        let chunk = self.next().await?;
        Ok((chunk.rows, chunk.last))
    }
}

impl RowSource<Bytes> for ForwardedParts {
    async fn next(&mut self) -> Result<(Vec<Bytes>, bool)> {
        let part = self.next().await?;
        Ok((part.rows, part.last))
    }
}

pub(crate) const OPERATION: &str = "copy_out";
