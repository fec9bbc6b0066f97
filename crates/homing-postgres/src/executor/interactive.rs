//! The database's side of an interactive transaction: a task that answers the steps of one caller.
//!
//! # Task
//!
//! [`Executor::transact`] spawns the task, detached, for a peer's stream and for a caller on this node alike. It owns
//! the stream of requests, one of the executor's places for transactions, and a pooled connection. Its answers go
//! through a channel of [`MAX_RESPONSES`].
//!
//! The task ends after a commit, at the first invalid request, when its caller is gone (the requests end, or the caller
//! no longer takes responses), after the idle timeout without a request, at its deadline, or when the connection to the
//! database is lost. In every case an open transaction is rolled back, and the connection and the place are given back
//! before the caller gets the last response. After a panic the connection is closed and the place given back, and the
//! caller sees the responses end.

pub(super) mod commands;
pub(super) mod pinned;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use homing_proto::v1 as proto;
use homing_rpc::Reason;
use proto::rejection::Cause as Rejected;
use proto::transact_request::Step;
use proto::transact_response::Outcome;
use proto::transaction_ended::Cause;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Status;
use tracing::{Instrument, debug, debug_span};

use self::pinned::{Pinned, StepOutcome, ended};
use super::Executor;
use super::failure::Failure;
use super::history::positions;
use super::keyed::claims::Claim;
use super::keyed::once::Looked;
use super::limit::{Limit, Limited};
use super::places::Place;
use super::probe::Probed;
use super::silence::SIGN_OF_LIFE_INTERVAL;
use crate::outcome::known::Known;
use crate::outcome::once::Once;
use crate::position::role::Role;
use crate::statement::kind::{Ask, RunsOn, Written};
use crate::statement::sql::shown;

/// The responses to the steps of a transaction. They end with the transaction.
pub(crate) type Responses = mpsc::Receiver<proto::TransactResponse>;

impl Executor {
    /// Begins an interactive transaction with its first request, once there is a place for it. The other requests follow
    /// in `requests`. The questions of `ask` are asked at the commit.
    ///
    /// # Errors
    ///
    /// Every error says that nothing was executed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the transaction back.
    pub(crate) async fn transact<S>(
        &self,
        first: proto::TransactRequest,
        requests: S,
        deadline: Instant,
        runs_on: RunsOn,
        ask: Ask,
    ) -> Result<Responses, Failure>
    where
        S: Stream<Item = Result<proto::TransactRequest, Status>> + Send + Unpin + 'static,
    {
        let place = self.places.transaction(step_deadline(first.step_timeout_millis, deadline)).await?;
        let (responses, receiver) = mpsc::channel(MAX_RESPONSES);
        let (opened, outcome) = oneshot::channel();
        let task = Interactive { executor: self.clone(), requests, runs_on, ask, deadline, place, responses };
        tokio::spawn(task.run(first, opened).instrument(debug_span!("transaction")));
        outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("the node is shutting down")))?;
        Ok(receiver)
    }
}

struct Interactive<S> {
    executor: Executor,
    requests: S,
    runs_on: RunsOn,
    ask: Ask,
    deadline: Instant,
    place: Place,
    // Dropped after the place: the caller sees the end when this is dropped.
    responses: mpsc::Sender<proto::TransactResponse>,
}

/// A transaction that has begun.
struct Begun {
    pinned: Pinned,
    idle_timeout: Duration,
}

/// How a transaction began.
enum Beginning {
    Begun(Box<Begun>),

    /// It did not, since its key was used before.
    Answered(Box<Outcome>),
}

/// The event after a step.
enum NextEvent {
    Request(proto::TransactRequest),
    CallerGone,
    Ended(Outcome),
}

impl Executor {
    /// Answers a transaction whose key has a committed one.
    async fn committed_before(&self, result: Option<Vec<u8>>, deadline: Instant) -> Outcome {
        let position = self.probe(deadline).await.position().map(|position| position.to_proto(""));
        let before = Some(proto::CommittedBefore { result: result.map(Into::into) });
        Outcome::Committed(proto::TransactionCommitted { position, before, ..Default::default() })
    }

    /// Answers a transaction that was rolled back at its commit, since its key was taken.
    async fn taken(&self, claim: Option<&Claim>, deadline: Instant) -> Outcome {
        let Some(Claim { once, fingerprint, .. }) = claim else {
            return ended(Cause::BadRequest, "the transaction has no key");
        };
        match self.settle(once.key, Some(*fingerprint), deadline).await {
            Ok(Some(Known::Committed(result))) => self.committed_before(result, deadline).await,
            Ok(Some(Known::Reused)) => refused(Rejected::KeyReused(proto::KeyReused {})),
            Ok(Some(Known::Settled(_) | Known::Nothing)) => {
                refused(Rejected::KeySettled(proto::KeySettled { fence: 0 }))
            }
            Ok(None) => refused(Rejected::Unprotected(proto::Unprotected {})),
            Err(failure) => {
                let message = format!("its key was claimed by another request: {failure:?}");
                Outcome::CommitUnknown(proto::CommitUnknown { message })
            }
        }
    }
}

impl<S> Interactive<S>
where
    S: Stream<Item = Result<proto::TransactRequest, Status>> + Send + Unpin,
{
    async fn run(mut self, first: proto::TransactRequest, opened: oneshot::Sender<Result<(), Failure>>) {
        let Begun { mut pinned, idle_timeout } = match self.begin(&first).await {
            Ok(Beginning::Begun(begun)) => *begun,
            Ok(Beginning::Answered(outcome)) => {
                if opened.send(Ok(())).is_ok() {
                    self.say_last(*outcome, Instant::now()).await;
                }
                return;
            }
            Err(failure) => {
                // The place is given back first: the caller may try again at once.
                drop(self);
                let _ = opened.send(Err(failure));
                return;
            }
        };
        if opened.send(Ok(())).is_err() {
            return pinned.finish().await;
        }
        let mut request = first;
        loop {
            let started = Instant::now();
            let step = self.step(&mut pinned, request).await;
            let outcome = match step {
                StepOutcome::Open(outcome) => outcome,
                over => return self.close(pinned, over, started).await,
            };
            let sent = timeout(idle_timeout, self.responses.send(response(outcome, started))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return pinned.finish().await;
            }
            request = match self.next(&pinned, idle_timeout).await {
                NextEvent::Request(request) => request,
                NextEvent::CallerGone => {
                    debug!("the caller is gone: rolling the transaction back");
                    return pinned.finish().await;
                }
                NextEvent::Ended(outcome) => {
                    return self.close(pinned, StepOutcome::Over(outcome), Instant::now()).await;
                }
            };
        }
    }

    async fn begin(&mut self, first: &proto::TransactRequest) -> Result<Beginning, Failure> {
        let Some(begin) = &first.begin else {
            return Err(Failure::bad_request("the first request of a transaction has no begin"));
        };
        let idle_timeout = match begin.idle_timeout_millis {
            0 => MAX_IDLE_TIMEOUT,
            millis => Duration::from_millis(millis).min(MAX_IDLE_TIMEOUT),
        };
        let deadline = step_deadline(first.step_timeout_millis, self.deadline);
        let (executor, runs_on, ask) = (self.executor.clone(), self.runs_on, self.ask);
        let once = begin.once.as_ref().filter(|_| runs_on == RunsOn::Primary);
        let once = once.map(|once| Once::from_proto(once).ok_or_else(|| Failure::bad_request("the key is not valid")));
        let once = once.transpose()?;
        let begun = self.limited(deadline, |mut limit| async move {
            let connection = limit.connection(&executor.pool, runs_on).await?;
            executor.check_history(&connection, &positions(&begin.session), limit.deadline()).await?;
            let cancellation = connection.cancellation();
            let beginning = async {
                let claim = match once {
                    None => None,
                    Some(once) => match executor.look(&connection, once, begin.fingerprint.cast_signed()).await? {
                        Looked::Run(claim) => Some(claim),
                        Looked::Committed(result) => {
                            drop(connection);
                            return Ok(Err(executor.committed_before(result, deadline).await));
                        }
                        // The call of a function, which asks what became of its key, and goes on.
                        Looked::Settled(_) => {
                            let message = "the key of the call was settled after this attempt had been sent";
                            return Err(Failure::NotExecuted(Reason::KeySettled, message.into()));
                        }
                        Looked::Reused => return Ok(Err(refused(Rejected::KeyReused(proto::KeyReused {})))),
                        Looked::Unprotected => return Ok(Err(refused(Rejected::Unprotected(proto::Unprotected {})))),
                    },
                };
                Pinned::begin(connection, begin, executor.max_rows_bytes, ask, claim).await.map(Ok)
            };
            match limit.run(cancellation, beginning).await {
                Limited::Ended(begun) => begun,
                Limited::Cancelled(_) | Limited::Abandoned => {
                    Err(Failure::unavailable("the deadline passed before the transaction had begun"))
                }
            }
        });
        let (pinned, role) = match begun.await? {
            Ok(begun) => begun,
            Err(answer) => return Ok(Beginning::Answered(Box::new(answer))),
        };
        if self.runs_on == RunsOn::Primary && role == Role::Replica {
            pinned.finish().await;
            return Err(Failure::not_primary(self.executor.pool.address()));
        }
        Ok(Beginning::Begun(Box::new(Begun { pinned, idle_timeout })))
    }

    async fn step(&mut self, pinned: &mut Pinned, request: proto::TransactRequest) -> StepOutcome {
        let (deadline, started) = (step_deadline(request.step_timeout_millis, self.deadline), Instant::now());
        let is_commit = matches!(request.step, Some(Step::Commit(_) | Step::CommitOnce(_)));
        let span = debug_span!("step", sql = request.step.as_ref().map(text));
        let cancellation = pinned.cancellation();
        let work = pinned.step(request);
        let limited = self
            .limited(deadline, |mut limit| async move { limit.run(cancellation, work).await })
            .instrument(span.clone())
            .await;
        span.in_scope(|| debug!(elapsed = ?started.elapsed(), "executed"));
        match limited {
            Limited::Ended(step) => step,
            Limited::Cancelled(step) => {
                pinned.mark_in_doubt();
                step.after_cancellation()
            }
            Limited::Abandoned => {
                pinned.mark_in_doubt();
                let message = "the database did not react to the cancellation of the statement";
                StepOutcome::Over(match is_commit {
                    true => Outcome::CommitUnknown(proto::CommitUnknown { message: message.into() }),
                    false => ended(Cause::TimeLimit, message),
                })
            }
        }
    }

    async fn next(&mut self, pinned: &Pinned, idle_timeout: Duration) -> NextEvent {
        let idle = Instant::now() + idle_timeout;
        loop {
            return tokio::select! {
                request = self.requests.next() => match request {
                    Some(Ok(request)) => NextEvent::Request(request),
                    Some(Err(_)) | None => NextEvent::CallerGone,
                },
                () = self.responses.closed() => NextEvent::CallerGone,
                () = sleep_until(idle.min(self.deadline)) => NextEvent::Ended(match idle < self.deadline {
                    true => ended(Cause::Idle, format!("it was idle for {idle_timeout:?}")),
                    false => ended(Cause::TimeLimit, "it reached its time limit"),
                }),
                () = sleep(SIGN_OF_LIFE_INTERVAL) => {
                    pinned.give_sign_of_life();
                    continue;
                }
            };
        }
    }

    /// Gives everything back, and then sends the last response.
    async fn close(self, mut pinned: Pinned, step: StepOutcome, started: Instant) {
        let claim = pinned.claim.take();
        pinned.finish().await;
        let deadline = self.deadline.min(Instant::now() + PROBE_TIMEOUT);
        let outcome = match step {
            StepOutcome::Taken => self.executor.taken(claim.as_ref(), deadline).await,
            StepOutcome::Open(outcome) | StepOutcome::Over(outcome) => outcome,
            StepOutcome::Committed { position: probed, written, not_replicated } => {
                let position = match probed {
                    // Any position after the commit will do.
                    Probed::Lost => self.executor.probe(deadline).await,
                    _ => probed,
                };
                let position = position.position().map(|position| position.to_proto(""));
                let unchanged = written == Written::Nothing;
                if claim.is_some() {
                    self.executor.prune_claims();
                }
                Outcome::Committed(proto::TransactionCommitted { position, not_replicated, unchanged, before: None })
            }
        };
        self.say_last(outcome, started).await;
    }

    async fn say_last(self, outcome: Outcome, started: Instant) {
        drop(self.place);
        // The caller may be gone.
        let _ = timeout(LAST_WORD_TIMEOUT, self.responses.send(response(outcome, started))).await;
    }

    /// Runs `work` with a limit that ends when the caller goes away. A request that arrives before the answer to the
    /// last one counts as that, because it violates the protocol.
    async fn limited<T, F>(&mut self, deadline: Instant, work: impl FnOnce(Limit) -> F) -> T
    where
        F: Future<Output = T>,
    {
        let (caller, gone) = oneshot::channel::<()>();
        let Self { requests, responses, .. } = self;
        let watch = async move {
            tokio::select! {
                _ = requests.next() => {}
                () = responses.closed() => {}
            }
            drop(caller);
            pending::<Infallible>().await
        };
        tokio::select! {
            output = work(Limit::new(deadline, gone)) => output,
            never = watch => match never {},
        }
    }
}

fn refused(cause: Rejected) -> Outcome {
    Outcome::Rejection(proto::Rejection { statement: None, cause: Some(cause) })
}

/// Returns the SQL of a step for its span.
fn text(step: &Step) -> &str {
    match step {
        Step::Run(list) => list.statements.first().map_or("", |statement| shown(&statement.sql)),
        Step::Prepare(sql) => shown(sql),
        Step::Commit(_) | Step::CommitOnce(_) => "commit",
    }
}

/// Returns the deadline of a step. `deadline` is that of the whole call, and 0 milliseconds stand for it.
pub(super) fn step_deadline(millis: u64, deadline: Instant) -> Instant {
    match millis {
        0 => deadline,
        millis => deadline.min(Instant::now() + Duration::from_millis(millis).min(MAX_STEP_TIMEOUT)),
    }
}

fn response(outcome: Outcome, started: Instant) -> proto::TransactResponse {
    let execute_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    proto::TransactResponse { outcome: Some(outcome), execute_micros, snapshot: None }
}

/// Responses in the channel: one for the request, and one that the task sends by itself.
const MAX_RESPONSES: usize = 2;

/// The longest idle timeout that a caller may set. An idle transaction holds locks, and keeps vacuum from cleaning up.
pub(crate) const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest time limit of a step. Longer ones limit nothing in practice, and clocks overflow.
const MAX_STEP_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to ask for the position on another connection: enough to open one.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the caller may take for the last response. The connection and the place are already given back.
pub(super) const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);
