//! [`StreamRequest`], a read whose rows arrive in chunks.

use std::sync::Arc;
use std::time::Duration;

use homing_proto::v1 as proto;
use homing_rpc::{Dispatched, Reason};
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tracing::debug;

use super::plan::WhyPrimary;
use super::reader::{ReadRequest, ReadTiming};
use super::rows::{RowSource, RowStream, Rows};
use super::server::{RefusedRead, note_read};
use crate::call::options::MAX_TIMEOUT;
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::database::Database;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::describe::half_way_to;
use crate::engine::execute::{Parameters, Runner, Statements, execute};
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::executor::{Broken, Chunk, Chunks, Failure, Pace};
use crate::position::Position;
use crate::primary::query::StreamedAs;
use crate::primary::rejection::{failed, rejected};
use crate::primary::{Primary, PrimaryRequest, local_database, peer_place};
use crate::replicas::Member;
use crate::statement::columns::Columns;
use crate::statement::description::StatementDescription;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::refusal::{Refusal, says_that_it_writes};
use crate::statement::row::Row;

/// A statement whose rows are read one after the other.
#[derive(Debug)]
pub(crate) struct StreamRequest<'a> {
    pub(crate) operation: &'static str,
    pub(crate) sql: &'a str,
    pub(crate) parameters: &'a Parameters<'a>,
}

impl ReadRequest for StreamRequest<'_> {
    type Output = RowStream;

    async fn run_on(
        &mut self,
        engine: &Engine,
        member: &Member,
        deadline: Instant,
    ) -> Result<Result<RowStream>, RefusedRead> {
        let described = async {
            let mut description = engine.describe(self.sql, deadline).await?;
            let statements = &[(self.sql, self.parameters)][..];
            let mut encoded = statements.encode(std::slice::from_ref(&description));
            if encoded.is_err() && engine.describe_again(self.sql, deadline).await.is_ok() {
                description = engine.describe(self.sql, deadline).await?;
                encoded = statements.encode(std::slice::from_ref(&description));
            }
            Ok((encoded?.remove(0), description))
        };
        let (statement, description) =
            described.await.map_err(|error: Error| RefusedRead { refusal: Refusal::Final, error })?;
        open_on(engine, member, statement, &description, deadline).await.map(Ok).map_err(|broken| {
            debug!(?broken, "the local database cannot stream");
            let database = member.database();
            let refusal = refusal(&broken, database);
            if refusal == Refusal::Transient {
                engine.descriptions().forget(self.sql);
            }
            RefusedRead { refusal, error: local_error(broken, database) }
        })
    }

    async fn run_on_primary(
        &mut self,
        engine: &Engine,
        _: WhyPrimary,
        timing: ReadTiming,
    ) -> Result<Answered<RowStream>> {
        let runner = StreamRunner { engine, deadline: engine.deadline() };
        let (opened, _) = execute(&[(self.sql, self.parameters)][..], &runner).await?;
        let Opened { rows, answered_by, attempts, forward } = opened;
        let route = timing.started.elapsed().saturating_sub(forward + timing.replay_wait);
        let stages = Stages { route, forward, replay_wait: timing.replay_wait, ..Stages::default() };
        let report = Report { attempts, stages, ..Report::new(self.operation, answered_by) };
        Ok(Answered::new(Ok(rows), report))
    }
}

/// Opens a stream on the primary.
struct StreamRunner<'a> {
    engine: &'a Engine,
    deadline: Instant,
}

impl Runner for StreamRunner<'_> {
    type Answer = Opened;

    async fn describe(&self, sql: &str) -> Result<StatementDescription> {
        self.engine.describe(sql, self.deadline).await
    }

    async fn describe_again(&self, sql: &str) -> Result<()> {
        self.engine.describe_again(sql, self.deadline).await
    }

    async fn run(&self, mut statements: Vec<proto::Statement>, of: &[StatementDescription]) -> Result<Opened> {
        let opening = StreamOpening {
            engine: self.engine,
            statement: statements.remove(0),
            description: &of[0],
            deadline: self.deadline,
        };
        self.engine.primary().send(&opening).await
    }
}

struct StreamOpening<'a> {
    engine: &'a Engine,
    statement: proto::Statement,
    description: &'a StatementDescription,
    deadline: Instant,
}

impl PrimaryRequest for StreamOpening<'_> {
    type Answer = Opened;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, _: &Primary, member: &Arc<Member>) -> Result<Opened> {
        let Self { engine, statement, description, deadline } = self;
        let opened = open_on(engine, member, statement.clone(), description, *deadline).await;
        let rows = opened.map_err(|broken| local_error(broken, member.database()))?;
        note_read(engine, member, None, &[]);
        Ok(Opened { rows, answered_by: AnsweredBy::Local, attempts: 0, forward: Duration::ZERO })
    }

    async fn forward(&self, primary: &Primary) -> Result<Opened> {
        let seen = self.engine.session.seen_elsewhere(None);
        let Dispatched { response: (first, parts), peer, attempts, forward, .. } = self.query_peer(primary).await?;
        if let Some(position) = first.position.as_ref().and_then(Position::from_proto) {
            // Later reads from a replica must not be older than this one.
            self.engine.session.advance(position);
            // No replica was ahead of this position when the session read from it.
            seen.iter().for_each(|seen| self.engine.session.settle(seen, position));
        }
        let columns = &self.description.columns;
        let limit = self.engine.options.call_timeout;
        let mut source = Forwarded { parts, columns: Arc::clone(columns), place: peer_place(&peer), limit };
        let first = source.rows(first)?;
        let rows = RowStream::new(Arc::clone(columns), first, source);
        Ok(Opened { rows, answered_by: AnsweredBy::Peer(peer), attempts, forward })
    }
}

impl StreamOpening<'_> {
    async fn query_peer(
        &self,
        primary: &Primary,
    ) -> Result<Dispatched<(proto::QueryPart, Streaming<proto::QueryPart>)>> {
        let session = self.engine.history(Writes::No);
        let opened = primary.query_peer(self.statement.clone(), &session, StreamedAs::Rows, self.deadline).await;
        let first = opened.as_ref().ok().and_then(|opened| opened.response.0.position.as_ref());
        let position = first.and_then(Position::from_proto);
        let opened = self.engine.heed(&session, position.map(|position| position.timeline), opened)?;
        self.engine.check_timeline(position, false)?;
        Ok(opened)
    }
}

/// Opens a stream on a local server.
async fn open_on(
    engine: &Engine,
    member: &Member,
    statement: proto::Statement,
    description: &StatementDescription,
    deadline: Instant,
) -> Result<RowStream, Broken> {
    let database = member.database();
    let connect = if member.is_local_primary() { deadline } else { half_way_to(deadline) };
    let pace = Pace { connect, first: deadline, next: engine.options.call_timeout.min(MAX_TIMEOUT) };
    let local = engine.primary().local().clone();
    let session = engine.history(Writes::No);
    let mut chunks = database.executor().query(statement, local, session.clone(), pace, RunsOn::Any);
    let first = chunks.next().await.inspect_err(|broken| {
        if broken.is_history_lost() {
            engine.session.lost(&session);
        }
    })?;
    let columns = &description.columns;
    let source = Local { chunks, columns: Arc::clone(columns), database: database.clone() };
    let first = source.rows(first);
    Ok(RowStream::new(Arc::clone(columns), first, source))
}

/// A stream whose first rows have arrived.
#[derive(Debug)]
struct Opened {
    rows: RowStream,
    answered_by: AnsweredBy,
    attempts: u32,
    forward: Duration,
}

/// A local server that sends rows.
struct Local {
    chunks: Chunks<tokio_postgres::Row>,
    columns: Arc<Columns>,
    database: Database,
}

/// A peer that sends rows.
struct Forwarded {
    parts: Streaming<proto::QueryPart>,
    columns: Arc<Columns>,
    place: String,
    /// The time limit for each part.
    limit: Duration,
}

impl RowSource for Local {
    async fn next(&mut self) -> Result<Rows> {
        match self.chunks.next().await {
            Ok(chunk) => Ok(self.rows(chunk)),
            Err(broken) => Err(local_error(broken, &self.database)),
        }
    }
}

impl Local {
    fn rows(&self, chunk: Chunk<tokio_postgres::Row>) -> Rows {
        (chunk.rows.into_iter().map(|row| Row::local(&self.columns, row)).collect(), chunk.last)
    }
}

impl RowSource for Forwarded {
    async fn next(&mut self) -> Result<Rows> {
        let lost = |why: &str| {
            Error::not_sent(format!("{} was lost before the last row ({why}): begin the stream again", self.place))
        };
        match timeout(self.limit, self.parts.message()).await {
            Ok(Ok(Some(part))) => self.rows(part),
            Ok(Ok(None)) => Err(lost("it ended without a last part")),
            Ok(Err(status)) => Err(lost(status.message()).with_source(status)),
            Err(_) => Err(lost("no rows came within call_timeout")),
        }
    }
}

impl Forwarded {
    fn rows(&mut self, part: proto::QueryPart) -> Result<Rows> {
        if let Some(rejection) = part.rejection {
            return Err(rejected(rejection, &self.place)).map_err(|error| match error.db() {
                Some(refused) if says_that_it_writes(refused) => writes(),
                _ => error,
            });
        }
        Ok((Row::all_forwarded(&self.columns, part.rows)?, part.last))
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

pub(super) fn writes() -> Error {
    Error::misuse("a stream only reads, but PostgreSQL says that this statement writes: use query or execute")
}
