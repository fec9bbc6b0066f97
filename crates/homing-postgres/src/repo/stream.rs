//! A read whose rows arrive in chunks: from the replica here if it is far enough, else from the primary.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use homing_proto::v1 as proto;
use homing_rpc::{Dispatched, Reason};
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tracing::{Instrument, debug, debug_span};

use super::Repo;
use super::call::Answered;
use super::read::conflicts_with_recovery;
use super::statement::{Parameters, may_be_unknown_here, says_that_it_writes};
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::database::Database;
use crate::entity::{Entity, queries};
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::executor::{Broken, Chunk, Chunks, Failure, Pace};
use crate::position::Position;
use crate::position::role::Role;
use crate::primary;
use crate::reading::rows::{EntityStream, RowStream};
use crate::statement::description::StatementDescription;
use crate::statement::kind::RunsOn;
use crate::statement::row::{Column, Row};
use crate::statement::sql;

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
    /// Misuse, if the statement writes. See [`Error`] for the others.
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
        if let Some(handle) = &self.transaction {
            return Box::pin(self.open_cursor(handle, operation, sql, parameters)).await;
        }
        let destination = sql::destination(sql)?;
        let open = async {
            let started = Instant::now();
            let here = match destination {
                RunsOn::Any => self.current_here(&[]).instrument(debug_span!("replay_wait")).await?,
                RunsOn::Primary => self.replicas().local_primary(),
            };
            let waited = started.elapsed();
            let mut opened = None;
            if let Some(member) = &here {
                opened = self.open_here(member.database(), sql, parameters).await?;
                if opened.is_none() {
                    self.replicas().suspect(member);
                }
            }
            let opened = match opened {
                Some(opened) => opened,
                None => self.open_there(sql, parameters).await?,
            };
            let total = started.elapsed() - waited;
            let stages = match opened.answered_by {
                AnsweredBy::Here => Stages { execute: total, replay_wait: waited, ..Stages::default() },
                AnsweredBy::Peer(_) | AnsweredBy::Unknown => Stages {
                    route: total.saturating_sub(opened.forward),
                    forward: opened.forward,
                    replay_wait: waited,
                    ..Stages::default()
                },
            };
            let Opened { answered_by, attempts, rows, .. } = opened;
            let here = here.filter(|_| answered_by == AnsweredBy::Here);
            if let Some(member) = &here {
                self.has_read(member);
            }
            let replica = here.filter(|member| !member.is_local_primary()).map(|member| Arc::clone(member.name()));
            let report = Report { replica, attempts, stages, ..Report::new(operation, answered_by) };
            Ok(Answered::new(Ok(rows), report))
        };
        self.reported(operation, open).await
    }

    /// `None` where the primary has to be asked.
    async fn open_here(&self, database: &Database, sql: &str, parameters: &Parameters<'_>) -> Result<Option<Opened>> {
        let next = self.options.call_timeout;
        let pace = Pace { first: Instant::now() + next, next };
        let is_replica = database.role() != Some(Role::Primary);
        for attempt in 1.. {
            let (statement, description) = self.encode(sql, parameters, pace.first).await?;
            let mut chunks = database.executor().query(statement, self.primary().schema().cloned(), pace, RunsOn::Any);
            let broken = match chunks.next().await {
                Ok(first) => return Ok(Some(Opened::here(database, &description, chunks, first))),
                Err(broken) => broken,
            };
            debug!(?broken, "the database here does not stream");
            match consequence(&broken, is_replica) {
                Consequence::Again if attempt < ATTEMPTS => self.descriptions().forget(sql),
                Consequence::Again | Consequence::Elsewhere if is_replica => return Ok(None),
                _ => return Err(error_here(broken, database)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn open_there(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Opened> {
        let deadline = Instant::now() + self.options.call_timeout;
        let opened = match self.open_there_once(sql, parameters, deadline).await {
            Err(error) if error.is_stale() => {
                self.describe_again(sql, deadline).await?;
                self.open_there_once(sql, parameters, deadline).await
            }
            opened => opened,
        };
        match opened {
            // Nobody at home: perhaps because home is here by now.
            Err(error) if error.is_not_sent() && !error.is_misuse() => match self.primary().promoted(deadline).await {
                Some(member) => self.open_here(member.database(), sql, parameters).await?.ok_or(error),
                None => Err(error),
            },
            opened => opened,
        }
    }

    async fn open_there_once(&self, sql: &str, parameters: &Parameters<'_>, deadline: Instant) -> Result<Opened> {
        let (statement, description) = self.encode(sql, parameters, deadline).await?;
        let Dispatched { response: (first, parts), peer, attempts, forward, .. } =
            self.primary().query(statement, deadline).await?;
        if let Some(position) = first.position.as_ref().and_then(|position| Position::try_from(position).ok()) {
            // A later read on the replica must not be older than what this one shows.
            self.session.advance(position);
        }
        let place = primary::peer_place(&peer);
        let mut there =
            There { parts, columns: Arc::clone(&description.columns), place, limit: self.options.call_timeout };
        let first = there.rows(first)?;
        let rows = rows(first, Source::There(Box::new(there)));
        let rows = RowStream::new(description.columns, rows);
        Ok(Opened { rows, answered_by: AnsweredBy::Peer(peer), attempts, forward })
    }
}

/// A stream whose first rows are there.
struct Opened {
    rows: RowStream,
    answered_by: AnsweredBy,
    attempts: u32,
    forward: Duration,
}

impl Opened {
    fn here(database: &Database, description: &StatementDescription, chunks: Chunks, first: Chunk) -> Self {
        let here = Here { chunks, columns: Arc::clone(&description.columns), database: database.clone() };
        let (first, last) = here.rows(first);
        let rows = rows((first, last), Source::Here(Box::new(here)));
        let rows = RowStream::new(Arc::clone(&description.columns), rows);
        Self { rows, answered_by: AnsweredBy::Here, attempts: 0, forward: Duration::ZERO }
    }
}

/// Where further rows come from.
enum Source {
    Here(Box<Here>),
    There(Box<There>),
}

struct Here {
    chunks: Chunks,
    columns: Arc<[Column]>,
    database: Database,
}

struct There {
    parts: Streaming<proto::QueryPart>,
    columns: Arc<[Column]>,
    place: String,
    /// For each part.
    limit: Duration,
}

/// Rows, and whether they are the last ones.
type Rows = (Vec<Row>, bool);

/// The first rows, and those of the source after them.
fn rows(first: Rows, source: Source) -> stream::BoxStream<'static, Result<Row>> {
    let (first, last) = first;
    let rest = stream::try_unfold((!last).then_some(source), |source| async move {
        let Some(mut source) = source else { return Ok(None) };
        let (rows, last) = match &mut source {
            Source::Here(here) => here.next().await?,
            Source::There(there) => there.next().await?,
        };
        Ok(Some((rows, (!last).then_some(source))))
    });
    let chunks = stream::iter([Ok::<_, Error>(first)]).chain(rest);
    chunks.map_ok(|rows| stream::iter(rows.into_iter().map(Ok))).try_flatten().boxed()
}

impl Here {
    async fn next(&mut self) -> Result<Rows> {
        match self.chunks.next().await {
            Ok(chunk) => Ok(self.rows(chunk)),
            Err(broken) => Err(error_here(broken, &self.database)),
        }
    }

    fn rows(&self, chunk: Chunk) -> Rows {
        (chunk.rows.into_iter().map(|row| Row::local(&self.columns, row)).collect(), chunk.last)
    }
}

impl There {
    async fn next(&mut self) -> Result<Rows> {
        let lost = |why: &str| {
            Error::not_sent(format!("{} was lost before the last row, begin the stream again: {why}", self.place))
        };
        match timeout(self.limit, self.parts.message()).await {
            Ok(Ok(Some(part))) => self.rows(part),
            Ok(Ok(None)) => Err(lost("it ended without saying so")),
            Ok(Err(status)) => Err(lost(status.message()).with_source(status)),
            Err(_) => Err(lost("nothing came within call_timeout")),
        }
    }

    fn rows(&mut self, part: proto::QueryPart) -> Result<Rows> {
        if let Some(rejection) = part.rejection {
            return Err(primary::rejected(rejection, &self.place)).map_err(|error| match error.db() {
                Some(refused) if says_that_it_writes(refused) => writes(),
                _ => error,
            });
        }
        let row = |list| {
            Row::forwarded(&self.columns, list)
                .ok_or_else(|| Error::decode("the primary sent a row that is not a list of that many values"))
        };
        Ok((part.rows.into_iter().map(row).collect::<Result<_>>()?, part.last))
    }
}

/// What follows when a stream does not begin here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consequence {
    Again,
    Elsewhere,
    Fails,
}

fn consequence(broken: &Broken, is_replica: bool) -> Consequence {
    match broken {
        // A pooled connection may have been lost long before.
        Broken::Failed(Failure::NotExecuted(Reason::StaleStatement | Reason::DatabaseUnavailable, _)) => {
            Consequence::Again
        }
        Broken::Rejected(error) if is_replica && may_be_unknown_here(error.code()) => Consequence::Elsewhere,
        Broken::Rejected(error) if is_replica && conflicts_with_recovery(error.code()) => Consequence::Again,
        Broken::Rejected(_) | Broken::Failed(_) | Broken::TooSlow | Broken::Stalled => Consequence::Fails,
    }
}

fn error_here(broken: Broken, database: &Database) -> Error {
    let place = format!("the database here, at {},", database.pool().address());
    match broken {
        Broken::Rejected(error) if says_that_it_writes(&error) => writes(),
        Broken::Rejected(error) => Error::rejected_by(DatabaseError::clone(&error), place),
        Broken::TooSlow => Error::timed_out(format!("{place} did not give the next rows in time: raise call_timeout")),
        Broken::Stalled => Error::rejected(format!("{place} ended the stream, since nobody took its rows")),
        Broken::Failed(failure) => primary::failed(failure, &place),
    }
}

fn writes() -> Error {
    Error::misuse("a stream only reads, and PostgreSQL says that this statement writes: use query or execute")
}

/// As with other reads: once more, then elsewhere.
const ATTEMPTS: u32 = 2;
