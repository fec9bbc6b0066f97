//! [`CopyOut`], data of a table or a query.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use homing_proto::v1 as proto;
use homing_rpc::Dispatched;
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tracing::debug;

use super::plan::WhyPrimary;
use super::reader::{ReadRequest, ReadTiming};
use super::rows::{RowSource, chunked};
use super::server::{RefusedRead, note_read};
use super::stream::{local_error, refusal, writes};
use crate::call::options::MAX_TIMEOUT;
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::describe::half_way_to;
use crate::error::{Error, Result};
use crate::executor::{Broken, Chunk, Chunks, Pace};
use crate::position::Position;
use crate::primary::query::StreamedAs;
use crate::primary::rejection::rejected;
use crate::primary::{Primary, PrimaryRequest, peer_place};
use crate::replicas::Member;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::refusal::says_that_it_writes;

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
    /// [`is_not_sent`](Error::is_not_sent) if the connection was lost, and [`is_rejected`](Error::is_rejected) if PostgreSQL
    /// ended the statement. Nothing was changed: the copy may be begun again.
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
        member: &Member,
        deadline: Instant,
    ) -> Result<Result<CopyOut>, RefusedRead> {
        open_on(engine, member, self.statement(), deadline).await.map(Ok).map_err(|broken| {
            debug!(?broken, "the local database cannot copy");
            let database = member.database();
            RefusedRead { refusal: refusal(&broken, database), error: local_error(broken, database) }
        })
    }

    async fn run_on_primary(
        &mut self,
        engine: &Engine,
        _: WhyPrimary,
        timing: ReadTiming,
    ) -> Result<Answered<CopyOut>> {
        let opening = CopyOpening { engine, statement: self.statement(), deadline: engine.deadline() };
        let Opened { data, answered_by, attempts, forward } = engine.primary().send(&opening).await?;
        let route = timing.started.elapsed().saturating_sub(forward + timing.replay_wait);
        let stages = Stages { route, forward, replay_wait: timing.replay_wait, ..Stages::default() };
        let report = Report { attempts, stages, ..Report::new(OPERATION, answered_by) };
        Ok(Answered::new(Ok(data), report))
    }
}

struct CopyOpening<'a> {
    engine: &'a Engine,
    statement: proto::Statement,
    deadline: Instant,
}

/// A copy whose first data has arrived.
struct Opened {
    data: CopyOut,
    answered_by: AnsweredBy,
    attempts: u32,
    forward: Duration,
}

impl PrimaryRequest for CopyOpening<'_> {
    type Answer = Opened;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, _: &Primary, member: &Arc<Member>) -> Result<Opened> {
        let opened = open_on(self.engine, member, self.statement.clone(), self.deadline).await;
        let data = opened.map_err(|broken| local_error(broken, member.database()))?;
        note_read(self.engine, member, None, &[]);
        Ok(Opened { data, answered_by: AnsweredBy::Local, attempts: 0, forward: Duration::ZERO })
    }

    async fn forward(&self, primary: &Primary) -> Result<Opened> {
        let (engine, session) = (self.engine, self.engine.history(Writes::No));
        let seen = engine.session.seen_elsewhere(None);
        let opened = primary.query_peer(self.statement.clone(), &session, StreamedAs::Data, self.deadline).await;
        let first = opened.as_ref().ok().and_then(|opened| opened.response.0.position.as_ref());
        let position = first.and_then(Position::from_proto);
        let opened = engine.heed(&session, position.map(|position| position.timeline), opened)?;
        engine.check_timeline(position, false)?;
        if let Some(position) = position {
            // Later reads from a replica must not be older than this one.
            engine.session.advance(position);
            // No replica was ahead of this position when the session read from it.
            seen.iter().for_each(|seen| engine.session.settle(seen, position));
        }
        let Dispatched { response: (first, parts), peer, attempts, forward, .. } = opened;
        let source = Forwarded { parts, place: peer_place(&peer), limit: self.engine.options.call_timeout };
        let data = CopyOut::new(source.data(first)?, source);
        Ok(Opened { data, answered_by: AnsweredBy::Peer(peer), attempts, forward })
    }
}

/// Opens a copy on a local server.
async fn open_on(
    engine: &Engine,
    member: &Member,
    statement: proto::Statement,
    deadline: Instant,
) -> Result<CopyOut, Broken> {
    let database = member.database();
    let connect = if member.is_local_primary() { deadline } else { half_way_to(deadline) };
    let pace = Pace { connect, first: deadline, next: engine.options.call_timeout.min(MAX_TIMEOUT) };
    let local = engine.primary().local().clone();
    let session = engine.history(Writes::No);
    let mut chunks = database.executor().copy_out(statement, local, session.clone(), pace, RunsOn::Any);
    let Chunk { rows, last, .. } = chunks.next().await.inspect_err(|broken| {
        if broken.is_history_lost() {
            engine.session.lost(&session);
        }
    })?;
    Ok(CopyOut::new((rows, last), Local { chunks, database: database.clone() }))
}

/// A local server that sends data.
struct Local {
    chunks: Chunks<Bytes>,
    database: Database,
}

/// A peer that sends data.
struct Forwarded {
    parts: Streaming<proto::QueryPart>,
    place: String,
    /// The time limit for each part.
    limit: Duration,
}

impl RowSource<Bytes> for Local {
    async fn next(&mut self) -> Result<(Vec<Bytes>, bool)> {
        match self.chunks.next().await {
            Ok(Chunk { rows, last, .. }) => Ok((rows, last)),
            Err(broken) => Err(local_error(broken, &self.database)),
        }
    }
}

impl RowSource<Bytes> for Forwarded {
    async fn next(&mut self) -> Result<(Vec<Bytes>, bool)> {
        let lost = |why: &str| {
            Error::not_sent(format!("{} was lost before the end of the copy ({why}): begin it again", self.place))
        };
        match timeout(self.limit, self.parts.message()).await {
            Ok(Ok(Some(part))) => self.data(part),
            Ok(Ok(None)) => Err(lost("it ended without a last part")),
            Ok(Err(status)) => Err(lost(status.message()).with_source(status)),
            Err(_) => Err(lost("no data came within call_timeout")),
        }
    }
}

impl Forwarded {
    fn data(&self, part: proto::QueryPart) -> Result<(Vec<Bytes>, bool)> {
        if let Some(rejection) = part.rejection {
            let error = rejected(rejection, &self.place);
            return Err(if error.db().is_some_and(says_that_it_writes) { writes() } else { error });
        }
        Ok((part.rows, part.last))
    }
}

pub(crate) const OPERATION: &str = "copy_out";
