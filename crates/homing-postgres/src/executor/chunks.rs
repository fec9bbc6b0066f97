//! [`Chunks`], the rows or the data of a statement, which arrive as the reader takes them.
//!
//! # Task
//!
//! [`Executor::stream`] spawns one task for each stream. [`Chunks`] keeps its handle. The task owns a pooled connection and
//! one of the executor's places for streams. It sends the rows through a channel of [`MAX_CHUNKS`] and reads on only
//! when the reader has taken the chunk before. So a slow reader holds back PostgreSQL itself: the driver passes on a
//! few messages and leaves the rest in the socket.
//!
//! The task ends with the last row, with an error, when its [`Chunks`] are dropped, at a time limit ([`Pace`]), or
//! after [`READER_TIMEOUT`] without a reader. If the statement is still running then, it is cancelled and its
//! connection is closed. A panic continues in the reader.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{FutureExt, join3};
use futures_util::{Stream, TryStreamExt};
use homing_proto::v1 as proto;
use homing_rpc::Reason;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{CopyOutStream, Row, RowStream, Statement};
use tracing::{Instrument, debug, debug_span};

use super::Executor;
use super::failure::Failure;
use super::places::Place;
use super::prepared::Prepared;
use super::probe::{Flushed, Probed, Questions};
use crate::connection::pool::Connection;
use crate::connection::set::begin_with;
use crate::error::database::DatabaseError;
use crate::error::function::with_causes;
use crate::position::Position;
use crate::scope::LocalSettings;
use crate::scope::schema::tagged;
use crate::statement::kind::{Ask, RunsOn, Written};
use crate::statement::sql::shown;
use crate::statement::values::{self, Encoded};

/// How long a stream may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long to wait for a connection.
    pub(crate) connect: Instant,

    /// When the first chunk has to be there.
    pub(crate) first: Instant,

    /// How long each further chunk may take, not counting the time until the reader takes it.
    pub(crate) next: Duration,
}

/// What a statement sends, one after the other: rows, or the messages of a COPY.
pub(crate) trait Streamed: Sized + Send + 'static {
    type Items: Stream<Item = Result<Self, tokio_postgres::Error>> + Send;

    /// Starts the statement. The first poll sends it.
    fn start(
        connection: &Connection,
        statement: &Statement,
        parameters: Vec<Encoded>,
    ) -> impl Future<Output = Result<Self::Items, tokio_postgres::Error>> + Send;

    /// Returns how many bytes the server has sent.
    fn size(&self) -> usize;

    /// Returns the form that travels.
    fn to_wire(&self) -> Bytes;
}

impl Streamed for Row {
    type Items = RowStream;

    async fn start(
        connection: &Connection,
        statement: &Statement,
        parameters: Vec<Encoded>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        connection.query_raw(statement, parameters).await
    }

    fn size(&self) -> usize {
        self.raw_size_bytes()
    }

    fn to_wire(&self) -> Bytes {
        values::of_row(self)
    }
}

impl Streamed for Bytes {
    type Items = CopyOutStream;

    async fn start(
        connection: &Connection,
        statement: &Statement,
        _: Vec<Encoded>,
    ) -> Result<CopyOutStream, tokio_postgres::Error> {
        connection.copy_out(statement).await
    }

    fn size(&self) -> usize {
        self.len()
    }

    fn to_wire(&self) -> Bytes {
        self.clone()
    }
}

/// Some rows of a stream.
#[derive(Debug)]
pub(crate) struct Chunk<T> {
    pub(crate) rows: Vec<T>,

    /// With the first chunk, if the stream runs on the primary: everything that the statement sees is at or before it.
    pub(crate) position: Option<Position>,

    /// Whether this is the last chunk.
    pub(crate) last: bool,
}

/// Why a stream ended before its last row.
#[derive(Debug)]
pub(crate) enum Broken {
    Rejected(Box<DatabaseError>),

    /// The database took too long for the next rows.
    TooSlow,

    /// The reader took no rows for [`READER_TIMEOUT`].
    Stalled,

    Failed(Failure),
}

/// The chunks of one statement.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: mpsc::Receiver<Result<Chunk<T>, Broken>>,
    task: JoinHandle<()>,
}

impl Executor {
    /// Runs a statement in a read-only transaction. If it has to run on the primary, its first chunk carries the
    /// position. `session` are the positions that the server has to have in its history.
    pub(crate) fn stream<T: Streamed>(
        &self,
        statement: proto::Statement,
        local: LocalSettings,
        session: Vec<Position>,
        pace: Pace,
        runs_on: RunsOn,
    ) -> Chunks<T> {
        let (sender, chunks) = mpsc::channel(MAX_CHUNKS);
        let span = debug_span!("query", sql = shown(&statement.sql));
        let reader = ChunkReader { executor: self.clone(), statement, local, session, pace, runs_on };
        Chunks { chunks, task: tokio::spawn(reader.run(sender).instrument(span)) }
    }
}

impl Broken {
    /// Returns whether the server does not have what the session has seen.
    pub(crate) fn is_history_lost(&self) -> bool {
        matches!(self, Self::Failed(Failure::NotExecuted(Reason::HistoryLost, _)))
    }
}

impl<T> Chunks<T> {
    /// Returns the next chunk. Must not be called after the last chunk or an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Chunk<T>, Broken> {
        if let Some(next) = self.chunks.recv().await {
            return next;
        }
        match (&mut self.task).await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(Broken::Failed(Failure::unavailable("the node is shutting down"))),
        }
    }
}

/// The task of one stream.
struct ChunkReader {
    executor: Executor,
    statement: proto::Statement,
    local: LocalSettings,
    session: Vec<Position>,
    pace: Pace,
    runs_on: RunsOn,
}

/// How the use of a connection ended.
struct StreamEnd<T> {
    /// The last message for the reader, if the reader is still there.
    message: Option<Result<Chunk<T>, Broken>>,

    /// Whether the connection is in the state in which it came from the pool.
    clean: bool,
}

impl ChunkReader {
    async fn run<T: Streamed>(self, sender: mpsc::Sender<Result<Chunk<T>, Broken>>) {
        let opened = tokio::select! {
            biased;
            () = sender.closed() => return,
            opened = self.connect() => opened,
        };
        let (place, connection) = match opened {
            Ok(opened) => opened,
            Err(failure) => return send_last(&sender, Err(Broken::Failed(failure))).await,
        };
        let ended = tokio::select! {
            // An end counts even if the reader goes away at the same moment.
            biased;
            ended = self.read(&connection, &sender) => ended,
            () = sender.closed() => StreamEnd { message: None, clean: false },
        };
        if ended.clean {
            drop(connection);
        } else {
            connection.abandon().await;
        }
        drop(place);
        if let Some(message) = ended.message {
            send_last(&sender, message).await;
        }
    }

    async fn connect(&self) -> Result<(Place, Connection), Failure> {
        let Executor { places, pool, .. } = &self.executor;
        // Streams are long: if none ends within half of the time, the caller can use the other half for another server.
        let now = Instant::now();
        let place = places.stream(now + self.pace.first.saturating_duration_since(now) / 2).await?;
        let connection = pool.connection(self.pace.connect).await;
        let connection = connection.map_err(|error| Failure::unavailable(with_causes(&error)))?;
        self.executor.check_history(&connection, &self.session, self.pace.first).await?;
        Ok((place, connection))
    }

    async fn read<T: Streamed>(
        &self,
        connection: &Connection,
        sender: &mpsc::Sender<Result<Chunk<T>, Broken>>,
    ) -> StreamEnd<T> {
        let broken = match self.read_through(connection, sender).await {
            Ok(ended) => return ended,
            Err(broken) => broken,
        };
        let clean = match &broken {
            Broken::Rejected(_) | Broken::Failed(Failure::NotExecuted(..) | Failure::Settled(..)) => {
                matches!(timeout(ROLLBACK_TIMEOUT, connection.batch_execute("ROLLBACK")).await, Ok(Ok(())))
            }
            Broken::TooSlow | Broken::Stalled | Broken::Failed(Failure::Unknown(_)) => false,
        };
        StreamEnd { message: Some(Err(broken)), clean }
    }

    async fn read_through<T: Streamed>(
        &self,
        connection: &Connection,
        sender: &mpsc::Sender<Result<Chunk<T>, Broken>>,
    ) -> Result<StreamEnd<T>, Broken> {
        let opened = timeout_at(self.pace.first, self.open_twice::<T>(connection)).await;
        let (rows, mut position) = opened.map_err(|_| Broken::TooSlow)??;
        let mut rows = pin!(rows);
        let mut limit = self.pace.first;
        loop {
            let mut chunk = Vec::new();
            let filled = timeout_at(limit, fill(rows.as_mut(), &mut chunk)).await.map_err(|_| Broken::TooSlow)?;
            let last = matches!(filled, Ok(false));
            let chunk = Chunk { rows: chunk, position: position.take(), last };
            if last {
                let committed = timeout(self.pace.next, connection.batch_execute("COMMIT")).await;
                return Ok(StreamEnd { message: Some(Ok(chunk)), clean: matches!(committed, Ok(Ok(()))) });
            }
            // Rows from before an error are sent first.
            if !chunk.rows.is_empty() {
                match timeout(READER_TIMEOUT, sender.send(Ok(chunk))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ok(StreamEnd { message: None, clean: false }),
                    Err(_) => return Err(Broken::Stalled),
                }
            }
            filled.map_err(|error| self.broken(&error))?;
            limit = Instant::now() + self.pace.next;
        }
    }

    /// Opens the stream, and once more if its statement is stale: PostgreSQL has run nothing then.
    async fn open_twice<T: Streamed>(&self, connection: &Connection) -> Result<(T::Items, Option<Position>), Broken> {
        match self.open::<T>(connection).await {
            Err(Broken::Rejected(error)) if error.may_be_stale() => self.open_again::<T>(connection).await,
            Err(Broken::Failed(Failure::NotExecuted(Reason::StaleStatement, _))) => {
                self.open_again::<T>(connection).await
            }
            opened => opened,
        }
    }

    async fn open_again<T: Streamed>(&self, connection: &Connection) -> Result<(T::Items, Option<Position>), Broken> {
        connection.batch_execute("ROLLBACK").await.map_err(|error| self.broken(&error))?;
        connection.forget(&tagged(self.local.schema.as_ref(), &self.statement.sql));
        self.open::<T>(connection).await
    }

    /// Begins the transaction and starts the statement. All messages are sent before the first answer is awaited. The
    /// position is asked for after the snapshot of the rows: everything that they show is before it.
    async fn open<T: Streamed>(&self, connection: &Connection) -> Result<(T::Items, Option<Position>), Broken> {
        if !self.local.is_empty() {
            // A prepared statement depends on the schema and the role, so BEGIN is awaited.
            begin_with(connection, BEGIN, &self.local).await.map_err(|error| self.broken(&error))?;
        }
        let statements = std::slice::from_ref(&self.statement);
        let prepared = Prepared::all(connection, self.local.schema.as_ref(), statements).await;
        let mut prepared = prepared.map_err(Broken::Failed)?.map_err(|(_, error)| self.broken(&error))?;
        let Some(Prepared::Extended { statement, parameters, references: [], expected_rows: None }) = prepared.pop()
        else {
            return Err(Broken::Failed(Failure::bad_request(
                "a streamed query has to be one statement whose parameters are all values",
            )));
        };
        let ask = match self.runs_on {
            RunsOn::Primary => Ask::Position,
            RunsOn::Any => Ask::Nothing,
        };
        let questions = Questions::prepare(connection, ask, None).await.map_err(Broken::Failed)?;
        let parameters: Vec<_> = parameters.into_iter().map(Encoded).collect();
        let begin = async {
            match self.local.is_empty() {
                false => Ok(()),
                true => connection.batch_execute(BEGIN).await,
            }
        };
        // The driver sends a message when its future is first polled, so they are sent in this order.
        let (begun, log, rows) = join3(begin, questions.log(), T::start(connection, &statement, parameters)).await;
        begun.map_err(|error| self.broken(&error))?;
        let (position, flushed) = log.position(Written::Nothing);
        if flushed == Flushed::InPart {
            // This connection cannot do it before the stream ends. The task ends at its deadline.
            let executor = self.executor.clone();
            tokio::spawn(async move { executor.probe(Instant::now() + FLUSH_TIMEOUT).await });
        }
        let position = match position {
            Probed::At(position) => Some(position),
            Probed::InRecovery => return Err(Broken::Failed(Failure::not_primary(self.executor.pool.address()))),
            Probed::Lost => return Err(Broken::Failed(self.lost())),
            Probed::NotAsked => None,
        };
        Ok((rows.map_err(|error| self.broken(&error))?, position))
    }

    fn broken(&self, error: &tokio_postgres::Error) -> Broken {
        match error.as_db_error() {
            Some(error) => Broken::Rejected(Box::new(error.into())),
            None => Broken::Failed(self.lost()),
        }
    }

    fn lost(&self) -> Failure {
        Failure::unavailable(format!("the connection to the database at {} was lost", self.executor.pool.address()))
    }
}

/// Waits for one row, then takes all that have already arrived. Returns whether there may be more.
async fn fill<T: Streamed>(mut stream: Pin<&mut T::Items>, rows: &mut Vec<T>) -> Result<bool, tokio_postgres::Error> {
    let mut bytes = 0;
    while bytes < CHUNK_BYTES {
        let next = match rows.is_empty() {
            true => stream.try_next().await,
            false => match stream.try_next().now_or_never() {
                Some(next) => next,
                None => return Ok(true),
            },
        };
        let Some(row) = next? else { return Ok(false) };
        bytes += row.size() + ROW_BYTES;
        rows.push(row);
    }
    Ok(true)
}

/// Sends the last message. The connection is free already, so the reader may take its time.
async fn send_last<T>(sender: &mpsc::Sender<Result<Chunk<T>, Broken>>, message: Result<Chunk<T>, Broken>) {
    if let Err(error) = timeout(READER_TIMEOUT, sender.send(message)).await {
        debug!(%error, "the reader did not take the end of a stream");
    }
}

/// One snapshot for the position and the rows. A replica does not support SERIALIZABLE, and reads do not need it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Chunks in the channel: while the reader handles one, the next is ready and a third is being filled.
const MAX_CHUNKS: usize = 1;

/// When a chunk is full. Large enough that a message costs little besides its rows, small enough that a thousand
/// streams fit into memory. A larger row is a chunk of its own.
const CHUNK_BYTES: usize = 64 * 1024;

/// The memory that a row takes besides its values, roughly.
const ROW_BYTES: usize = 64;

/// How long to try to make the primary flush its log. Without it, reads after the stream may wait for a later commit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A live server answers ROLLBACK at once.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a reader may take nothing before its stream ends: its stream has been forgotten, and it holds a connection
/// and a snapshot that keeps the database from cleaning up.
const READER_TIMEOUT: Duration = Duration::from_secs(600);
