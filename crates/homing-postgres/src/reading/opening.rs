//! [`Opened`], a stream of rows or data whose first part has arrived from a local server or a peer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use homing_proto::v1 as proto;
use homing_rpc::{Dispatched, Reason};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::chosen::Chosen;
use super::reader::ReadTiming;
use crate::call::options::MAX_TIMEOUT;
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::describe::half_way_to;
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::executor::{Broken, Chunk, Chunks, Failure, Pace, Streamed};
use crate::position::Position;
use crate::position::snapshot::Snapshot;
use crate::primary::query::StreamedAs;
use crate::primary::rejection::{failed, rejected};
use crate::primary::{Primary, local_database, peer_place};
use crate::replicas::Member;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::refusal::{Refusal, says_that_it_writes};

/// A stream whose first part has arrived.
#[derive(Debug)]
pub(super) struct Opened<T> {
    output: T,
    answered_by: AnsweredBy,
    attempts: u32,
    forward: Duration,
}

impl<T> Opened<T> {
    pub(super) fn locally(output: T) -> Self {
        Self { output, answered_by: AnsweredBy::Local, attempts: 0, forward: Duration::ZERO }
    }

    pub(super) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U>) -> Result<Opened<U>> {
        let Self { output, answered_by, attempts, forward } = self;
        Ok(Opened { output: map(output)?, answered_by, attempts, forward })
    }

    /// Returns the stream with the report of its opening.
    pub(super) fn answered(self, operation: &'static str, timing: ReadTiming) -> Answered<T> {
        let Self { output, answered_by, attempts, forward } = self;
        let route = timing.started.elapsed().saturating_sub(forward + timing.replay_wait);
        let stages = Stages { route, forward, replay_wait: timing.replay_wait, ..Stages::default() };
        Answered::new(Ok(output), Report { attempts, stages, ..Report::new(operation, answered_by) })
    }
}

/// The chunks that a local server sends.
#[derive(Debug)]
pub(super) struct LocalChunks<T> {
    chunks: Chunks<T>,
    database: Database,
}

/// The parts that a peer sends.
#[derive(Debug)]
pub(super) struct ForwardedParts {
    parts: Streaming<proto::QueryPart>,
    place: String,
    /// The time limit for each part.
    limit: Duration,
}

/// Opens a stream on a local server.
pub(super) async fn open_locally<T: Streamed>(
    engine: &Engine,
    chosen: &Chosen,
    statement: proto::Statement,
    deadline: Instant,
) -> Result<(Chunk<T>, LocalChunks<T>), Broken> {
    let member = &chosen.member;
    let database = member.database().clone();
    let connect = if member.is_local_primary() { deadline } else { half_way_to(deadline) };
    let pace = Pace { connect, first: deadline, next: engine.options.call_timeout.min(MAX_TIMEOUT) };
    let local = engine.primary().local().clone();
    let session = engine.history(Writes::No);
    let executor = database.executor().on(chosen.take_connection());
    let mut chunks = executor.stream(statement, local, session.clone(), pace, RunsOn::Any);
    let first = chunks.next().await.inspect_err(|broken| {
        if broken.is_history_lost() {
            engine.session.lost(&session);
        }
    })?;
    Ok((first, LocalChunks { chunks, database }))
}

/// Chooses the primary next to this node for a stream. It has to be the primary until the first part has arrived.
pub(super) fn choose_primary(member: &Arc<Member>) -> Result<Chosen> {
    let chosen = Chosen::now(Arc::clone(member));
    if !member.is_primary() {
        return Err(Error::not_primary(format!("{} is no longer the primary", local_database(member.database()))));
    }
    Ok(chosen)
}

/// Opens a stream through a peer in the primary region.
pub(super) async fn open_on_peer(
    engine: &Engine,
    primary: &Primary,
    statement: proto::Statement,
    sends: StreamedAs,
    deadline: Instant,
) -> Result<Opened<(proto::QueryPart, ForwardedParts)>> {
    let (session, earlier) = (engine.history(Writes::No), engine.session.earlier());
    let mut ahead = engine.ahead(deadline);
    let opened = loop {
        let opening = primary.query_peer(statement.clone(), &session, sends, ahead.is_some(), deadline);
        let Some(ahead) = &mut ahead else { break opening.await };
        let (opened, ()) = join(opening, ahead.ask()).await;
        let snapshot = opened.as_ref().ok().and_then(|opened| opened.response.0.snapshot.as_ref());
        if ahead.is_shown_in(snapshot.map(Snapshot::from_proto)).await {
            break opened;
        }
        // Dropped before its rows are handed over, which ends it on the primary.
        drop(opened);
        ahead.pause().await?;
    };
    let first = opened.as_ref().ok().and_then(|opened| opened.response.0.position.as_ref());
    let position = first.and_then(Position::from_proto);
    let opened = engine.heed(&session, position.map(|position| position.timeline), opened)?;
    engine.check_timeline(position, false)?;
    match position {
        Some(position) => {
            // Later reads from a replica must not be older than this one.
            engine.session.advance(position);
            engine.session.settle_all(&earlier, position);
        }
        // The primary does not tell how far its log is.
        None => engine.note_unknown_read(None),
    }
    let Dispatched { response: (first, parts), peer, attempts, forward, .. } = opened;
    let parts = ForwardedParts { parts, place: peer_place(&peer), limit: engine.options.call_timeout };
    let output = (parts.accept(first)?, parts);
    Ok(Opened { output, answered_by: AnsweredBy::Peer(peer), attempts, forward })
}

impl<T> LocalChunks<T> {
    /// Returns the next chunk. Must not be called after the last chunk or an error.
    pub(super) async fn next(&mut self) -> Result<Chunk<T>> {
        self.chunks.next().await.map_err(|broken| local_error(broken, &self.database))
    }
}

impl ForwardedParts {
    /// Returns the next part.
    pub(super) async fn next(&mut self) -> Result<proto::QueryPart> {
        let lost = |why: &str| {
            Error::not_sent(format!("{} was lost before the end of the stream ({why}): begin it again", self.place))
        };
        match timeout(self.limit, self.parts.message()).await {
            Ok(Ok(Some(part))) => self.accept(part),
            Ok(Ok(None)) => Err(lost("it ended without a last part")),
            Ok(Err(status)) => Err(lost(status.message()).with_source(status)),
            Err(_) => Err(lost("nothing came within call_timeout")),
        }
    }

    /// Returns the part, unless it says that PostgreSQL ended the statement.
    fn accept(&self, mut part: proto::QueryPart) -> Result<proto::QueryPart> {
        let Some(rejection) = part.rejection.take() else { return Ok(part) };
        let error = rejected(rejection, &self.place);
        Err(if error.db().is_some_and(says_that_it_writes) { writes() } else { error })
    }
}

pub(super) fn refusal(broken: &Broken, database: &Database) -> Refusal {
    match broken {
        // A pooled connection may have been lost long before this read.
        Broken::Failed(Failure::NotExecuted(Reason::StaleStatement | Reason::DatabaseUnavailable, _)) => {
            Refusal::Transient
        }
        Broken::Failed(Failure::NotExecuted(Reason::NotPrimary, _)) => Refusal::OldPrimary,
        Broken::Rejected(error) => match Refusal::of(error, database.role()) {
            // A stream may not write on the primary either.
            Refusal::Writes => Refusal::Final,
            refusal => refusal,
        },
        Broken::Failed(_) | Broken::TooSlow | Broken::Stalled => Refusal::Final,
    }
}

pub(super) fn local_error(broken: Broken, database: &Database) -> Error {
    let place = local_database(database);
    match broken {
        Broken::Rejected(error) if says_that_it_writes(&error) => writes(),
        Broken::Rejected(error) => Error::rejected_by(DatabaseError::clone(&error), place),
        Broken::TooSlow => Error::timed_out(format!("{place} did not send the next rows in time: raise call_timeout")),
        Broken::Stalled => Error::rejected(format!(
            "{place} ended the stream, since its rows were not read for too long: begin it again and read faster"
        )),
        Broken::Failed(failure) => failed(failure, &place),
    }
}

fn writes() -> Error {
    Error::misuse("a stream only reads, but PostgreSQL says that this statement writes: use query or execute")
}
