//! The database's side of a `COPY … FROM STDIN`: a task that passes on the data of one caller.
//!
//! # Task
//!
//! [`Executor::copy_in`] spawns the task, detached, for a peer's stream and for a caller on this node alike. It owns the
//! stream of requests, one of the executor's places for transactions, and a pooled connection. It takes the next request
//! when PostgreSQL has taken the data of the one before. Its answers go through a channel of [`MAX_RESPONSES`].
//!
//! The task ends after the commit, when its caller is gone (the requests end, or the caller no longer takes responses), after
//! [`MAX_IDLE_TIMEOUT`] without a request, at its deadline, or when the connection to the database is lost. In every case an
//! open transaction is rolled back. After a panic the connection is closed and the place given back, and the caller sees the
//! responses end.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join3;
use futures_util::{SinkExt, Stream, StreamExt};
use homing_proto::v1 as proto;
use proto::copy_in_request::Part;
use proto::copy_in_response::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::CopyInSink;
use tokio_postgres::error::SqlState;
use tonic::Status;
use tracing::{Instrument, debug_span};

use super::Executor;
use super::failure::Failure;
use super::history::positions;
use super::interactive::{LAST_WORD_TIMEOUT, MAX_IDLE_TIMEOUT, PROBE_TIMEOUT, step_deadline};
use super::limit::{Limit, Limited};
use super::places::Place;
use super::probe::{Probed, Questions};
use super::run::{Commit, RunOutcome, rejected};
use crate::connection::pool::{AttendedConnection, Connection};
use crate::connection::set::begin_with;
use crate::error::function::with_causes;
use crate::position::Position;
use crate::scope::schema::tagged;
use crate::scope::{LocalSettings, Scope};
use crate::statement::kind::Ask;
use crate::statement::sql::shown;

/// The responses to a copy. They end with the copy.
pub(crate) type CopyResponses = mpsc::Receiver<Result<proto::CopyInResponse, Failure>>;

impl Executor {
    /// Begins a copy with its first request, once there is a place for it. The other requests follow in `requests`.
    ///
    /// # Errors
    ///
    /// Every error says that nothing was executed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the responses, rolls the copy back.
    pub(crate) async fn copy_in<S>(
        &self,
        first: proto::CopyInRequest,
        requests: S,
        deadline: Instant,
    ) -> Result<CopyResponses, Failure>
    where
        S: Stream<Item = Result<proto::CopyInRequest, Status>> + Send + Unpin + 'static,
    {
        let begin_by = step_deadline(first.timeout_millis, deadline);
        let Some(Part::Begin(begin)) = first.part else {
            return Err(Failure::bad_request("the first request of a copy has no begin"));
        };
        let scope = Scope::from_wire(&begin.database).map_err(|error| Failure::bad_request(error.to_string()))?;
        let place = self.places.transaction(begin_by).await?;
        let (responses, receiver) = mpsc::channel(MAX_RESPONSES);
        let (opened, outcome) = oneshot::channel();
        let span = debug_span!("copy_in", sql = shown(&begin.sql));
        let (sql, local, session) = (begin.sql, scope.local, positions(&begin.session));
        let task = Copy { executor: self.clone(), sql, local, session, requests, deadline, place, responses };
        tokio::spawn(task.run(begin_by, opened).instrument(span));
        outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("the node is shutting down")))?;
        Ok(receiver)
    }
}

struct Copy<S> {
    executor: Executor,
    sql: String,
    local: LocalSettings,
    session: Vec<Position>,
    requests: S,
    deadline: Instant,
    place: Place,
    // Dropped after the place: the caller sees the end when this is dropped.
    responses: mpsc::Sender<Result<proto::CopyInResponse, Failure>>,
}

type Sink = Pin<Box<CopyInSink<Bytes>>>;

/// How a copy ended.
struct CopyEnd {
    /// `None` if the caller is gone.
    outcome: Option<Result<RunOutcome, Failure>>,

    /// Whether the connection can be used again, at most after a rollback.
    is_usable: bool,
}

impl CopyEnd {
    fn with(outcome: Result<RunOutcome, Failure>, is_usable: bool) -> Self {
        Self { outcome: Some(outcome), is_usable }
    }
}

impl<S> Copy<S>
where
    S: Stream<Item = Result<proto::CopyInRequest, Status>> + Send + Unpin,
{
    async fn run(mut self, begin_by: Instant, opened: oneshot::Sender<Result<(), Failure>>) {
        let started = Instant::now();
        let begun = tokio::select! {
            biased;
            () = self.responses.closed() => return,
            connection = connect(&self.executor, &self.session, begin_by) => connection,
        };
        let connection = match begun {
            // If the task ends in the middle of a statement, the statement is cancelled.
            Ok(connection) => AttendedConnection::new(connection),
            Err(failure) => {
                // The place is given back first: the caller may try again at once.
                drop(self);
                let _ = opened.send(Err(failure));
                return;
            }
        };
        let opening = tokio::select! {
            biased;
            () = self.responses.closed() => return,
            opening = timeout_at(begin_by, open(&connection, &self.sql, &self.local)) => opening,
        };
        let end = match opening {
            Ok(Ok(sink)) => {
                let _ = opened.send(Ok(()));
                self.copy(&connection, sink).await
            }
            Ok(Err(error)) => {
                let outcome = rejected(Some(0), &error, Commit::WasNotSent);
                let _ = opened.send(Ok(()));
                CopyEnd::with(outcome, error.as_db_error().is_some())
            }
            Err(_) => {
                let _ = opened.send(Ok(()));
                CopyEnd::with(Ok(RunOutcome::DeadlineExceeded { statement: Some(0) }), false)
            }
        };
        self.close(connection, end, started).await;
    }

    /// Passes data on until the caller finishes the copy.
    async fn copy(&mut self, connection: &Connection, mut sink: Sink) -> CopyEnd {
        let gone = CopyEnd { outcome: None, is_usable: true };
        let started = Outcome::Started(proto::CopyInStarted {});
        if self.responses.send(Ok(proto::CopyInResponse { outcome: Some(started) })).await.is_err() {
            return gone;
        }
        loop {
            let idle = Instant::now() + MAX_IDLE_TIMEOUT;
            let request = tokio::select! {
                request = timeout_at(idle.min(self.deadline), self.requests.next()) => request,
                () = self.responses.closed() => return gone,
            };
            let request = match request {
                Ok(Some(Ok(request))) => request,
                Ok(Some(Err(_)) | None) => return gone,
                Err(_) => {
                    let message = format!("no data came for {MAX_IDLE_TIMEOUT:?}, or the copy reached its time limit");
                    return CopyEnd::with(Err(Failure::unavailable(message)), true);
                }
            };
            let finish_by = step_deadline(request.timeout_millis, self.deadline);
            match request.part {
                Some(Part::Data(data)) => tokio::select! {
                    fed = sink.feed(data) => if fed.is_err() {
                        let message = "the connection to the database was lost before the commit";
                        return CopyEnd::with(Err(Failure::unavailable(message)), false);
                    },
                    () = self.responses.closed() => return CopyEnd { is_usable: false, ..gone },
                },
                Some(Part::Finish(_)) => return finish(connection, sink, finish_by, &self.responses).await,
                Some(Part::Begin(_)) | None => {
                    return CopyEnd::with(Err(Failure::bad_request("the request of a copy has no data")), true);
                }
            }
        }
    }

    /// Gives everything back, and then sends the last response.
    async fn close(self, connection: AttendedConnection, end: CopyEnd, started: Instant) {
        let is_committed = matches!(end.outcome, Some(Ok(RunOutcome::Committed { .. })));
        let is_clean = end.is_usable
            && (is_committed
                || matches!(timeout(ROLLBACK_TIMEOUT, connection.batch_execute("ROLLBACK")).await, Ok(Ok(()))));
        // A connection that is not done is closed.
        if is_clean {
            drop(connection.done());
        } else {
            drop(connection);
        }
        let deadline = self.deadline.min(Instant::now() + PROBE_TIMEOUT);
        let outcome = match end.outcome {
            None => return,
            Some(Ok(RunOutcome::Rejected { error, .. })) if error.code() == &SqlState::READ_ONLY_SQL_TRANSACTION => {
                self.executor.read_only(error, deadline).await
            }
            Some(Ok(RunOutcome::Committed { position: Probed::InRecovery, .. })) => {
                Err(Failure::not_primary(self.executor.pool.address()))
            }
            Some(Ok(RunOutcome::Committed { results, position: Probed::Lost, written, not_replicated })) => {
                let position = self.executor.probe(deadline).await;
                Ok(RunOutcome::Committed { results, position, written, not_replicated })
            }
            Some(outcome) => outcome,
        };
        drop(self.place);
        let response = outcome.map(|outcome| proto::CopyInResponse {
            outcome: Some(Outcome::Ended(outcome.into_response(started.elapsed()))),
        });
        // The caller may be gone.
        let _ = timeout(LAST_WORD_TIMEOUT, self.responses.send(response)).await;
    }
}

/// Takes a connection to a primary that has these positions in its history.
async fn connect(executor: &Executor, session: &[Position], deadline: Instant) -> Result<Connection, Failure> {
    let connection = executor.pool.writing_connection(deadline).await;
    let connection = connection.map_err(|error| Failure::unavailable(with_causes(&error)))?;
    executor.check_history(&connection, session, deadline).await?;
    Ok(connection)
}

/// Begins the transaction and starts the statement.
async fn open(connection: &Connection, sql: &str, local: &LocalSettings) -> Result<Sink, tokio_postgres::Error> {
    begin_with(connection, "BEGIN", local).await?;
    let statement = connection.statement(&tagged(local.schema.as_ref(), sql)).await?;
    Ok(Box::pin(connection.copy_in(&statement).await?))
}

/// Ends the statement and commits. The limit ends when the caller goes away; a commit that is under way is waited for.
async fn finish(
    connection: &Connection,
    mut sink: Sink,
    deadline: Instant,
    responses: &mpsc::Sender<Result<proto::CopyInResponse, Failure>>,
) -> CopyEnd {
    let (caller, gone) = oneshot::channel::<()>();
    let work = async {
        let rows_affected = match sink.as_mut().finish().await {
            Ok(rows) => rows,
            Err(error) => return rejected(Some(0), &error, Commit::WasNotSent),
        };
        let questions = Questions::prepare(connection, Ask::Position, None).await?;
        // Sent one behind the other, as in `RequestRun::several`.
        let (written, commit, log) =
            join3(questions.written(None), connection.batch_execute("COMMIT"), questions.log()).await;
        let written = match written.and_then(|written| commit.map(|()| written)) {
            Ok(written) => written,
            Err(error) => return rejected(None, &error, Commit::MayHaveHappened),
        };
        let position = questions.position(log, written);
        let result = proto::StatementResult { rows_affected, rows: Vec::new() };
        let results = proto::StatementResults { results: vec![result], rows_dropped: false };
        let not_replicated = connection.take_not_replicated();
        Ok(RunOutcome::Committed { results, position, written, not_replicated })
    };
    let mut limit = Limit::new(deadline, gone);
    let watched = async {
        responses.closed().await;
        drop(caller);
        std::future::pending::<std::convert::Infallible>().await
    };
    let limited = tokio::select! {
        limited = limit.run(connection.cancellation(), work) => limited,
        never = watched => match never {},
    };
    match limited {
        Limited::Ended(ended) => {
            let is_usable = ended.is_ok();
            CopyEnd::with(ended, is_usable)
        }
        Limited::Cancelled(ended) => CopyEnd::with(ended.map(RunOutcome::after_cancellation), false),
        Limited::Abandoned => {
            let message = "the database did not react to the cancellation of the copy";
            CopyEnd::with(Err(Failure::Unknown(message.into())), false)
        }
    }
}

/// Responses in the channel: there are two in all.
const MAX_RESPONSES: usize = 2;

/// A rollback is quick. If it is not, closing the connection has the same effect.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);
