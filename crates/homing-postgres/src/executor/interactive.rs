//! The primary's side of an interactive transaction: a task that answers the steps of one caller.
//!
//! Spawned by [`Executor::transact`], for a peer's stream and for this node's own callers alike. It owns the requests, a
//! place among the open transactions and a pooled connection. It ends after a commit, at the first request that makes no
//! sense, when its caller is gone (the requests end or nobody takes the responses), when there was no request for the
//! idle timeout, at its deadline, or with the database's connection. However it ends, what was not committed is rolled
//! back, and connection and place are given back before the caller hears the last word.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use homing_proto::v1 as proto;
use homing_rpc::Reason;
use proto::transact_request::Step as Asked;
use proto::transact_response::Outcome;
use proto::transaction_ended::Cause;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tracing::{Instrument, debug, debug_span};

use super::Executor;
use super::failure::Failure;
use super::limit::{Limit, Limited};
use super::pinned::{Pinned, StepOutcome, ended};
use crate::position::role::Role;
use crate::statement::kind::RunsOn;

/// The responses to the steps of a transaction. They end with the transaction.
pub(crate) type Responses = mpsc::Receiver<proto::TransactResponse>;

impl Executor {
    /// Begins an interactive transaction with its first request, which others follow.
    ///
    /// # Errors
    ///
    /// Nothing was executed.
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub(crate) async fn transact<S>(
        &self,
        first: proto::TransactRequest,
        requests: S,
        deadline: Instant,
        runs_on: RunsOn,
    ) -> Result<Responses, Failure>
    where
        S: Stream<Item = Result<proto::TransactRequest, Status>> + Send + Unpin + 'static,
    {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Failure::NotExecuted(
                Reason::Overloaded,
                format!(
                    "all {} interactive transactions of this node are open; try again later",
                    self.max_transactions
                ),
            )
        })?;
        let (responses, receiver) = mpsc::channel(RESPONSES);
        let (opened, outcome) = oneshot::channel();
        let task = Interactive { executor: self.clone(), requests, runs_on, deadline, place, responses };
        tokio::spawn(task.run(first, opened).instrument(debug_span!("transaction")));
        outcome.await.unwrap_or_else(|_| Err(Failure::unavailable("the node is shutting down")))?;
        Ok(receiver)
    }
}

struct Interactive<S> {
    executor: Executor,
    requests: S,
    runs_on: RunsOn,
    deadline: Instant,
    place: OwnedSemaphorePermit,
    // After the place: the caller hears of the end when this is dropped.
    responses: mpsc::Sender<proto::TransactResponse>,
}

/// A transaction that has begun.
struct Begun {
    pinned: Pinned,
    idle_timeout: Duration,
}

/// What comes after a step.
enum NextEvent {
    Request(proto::TransactRequest),
    CallerGone,
    Ended(Outcome),
}

impl<S> Interactive<S>
where
    S: Stream<Item = Result<proto::TransactRequest, Status>> + Send + Unpin,
{
    async fn run(mut self, first: proto::TransactRequest, opened: oneshot::Sender<Result<(), Failure>>) {
        let Begun { mut pinned, idle_timeout } = match self.begin(&first).await {
            Ok(begun) => begun,
            Err(failure) => {
                // Given back first: whoever is told may come again at once.
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
            request = match self.next(idle_timeout).await {
                NextEvent::Request(request) => request,
                NextEvent::CallerGone => {
                    debug!("the caller is gone, the transaction is rolled back");
                    return pinned.finish().await;
                }
                NextEvent::Ended(outcome) => {
                    return self.close(pinned, StepOutcome::Over(outcome), Instant::now()).await;
                }
            };
        }
    }

    async fn begin(&mut self, first: &proto::TransactRequest) -> Result<Begun, Failure> {
        let Some(begin) = &first.begin else {
            return Err(Failure::bad_request("the first request does not begin a transaction"));
        };
        let idle_timeout = match begin.idle_timeout_millis {
            0 => MAX_IDLE_TIMEOUT,
            millis => Duration::from_millis(millis).min(MAX_IDLE_TIMEOUT),
        };
        let deadline = self.step_deadline(first);
        let executor = self.executor.clone();
        let begun = self.attended(deadline, |mut limit| async move {
            let connection = limit.connection(&executor.pool).await?;
            let token = connection.cancel_token();
            match limit.keep(token, Pinned::begin(connection, begin, executor.max_rows_bytes)).await {
                Limited::Ended(begun) => begun,
                Limited::Cancelled(_) | Limited::Abandoned => {
                    Err(Failure::unavailable("the caller's time was over before the transaction was begun"))
                }
            }
        });
        let (pinned, role) = begun.await?;
        if self.runs_on == RunsOn::Primary && role == Role::Replica {
            pinned.finish().await;
            return Err(Failure::not_primary(self.executor.pool.address()));
        }
        Ok(Begun { pinned, idle_timeout })
    }

    async fn step(&mut self, pinned: &mut Pinned, request: proto::TransactRequest) -> StepOutcome {
        let deadline = self.step_deadline(&request);
        let is_commit = matches!(request.step, Some(Asked::Commit(_)));
        let token = pinned.cancel_token();
        let work = pinned.step(request);
        let limited = self.attended(deadline, |mut limit| async move { limit.keep(token, work).await }).await;
        match limited {
            Limited::Ended(step) => step,
            Limited::Cancelled(step) => {
                pinned.doubt();
                step.by_cancellation()
            }
            Limited::Abandoned => {
                pinned.doubt();
                let message = "the database did not react to the cancellation of the statement";
                StepOutcome::Over(match is_commit {
                    true => Outcome::CommitUnknown(proto::CommitUnknown { message: message.into() }),
                    false => ended(Cause::TimeLimit, message),
                })
            }
        }
    }

    async fn next(&mut self, idle_timeout: Duration) -> NextEvent {
        let idle = Instant::now() + idle_timeout;
        tokio::select! {
            request = self.requests.next() => match request {
                Some(Ok(request)) => NextEvent::Request(request),
                Some(Err(_)) | None => NextEvent::CallerGone,
            },
            () = self.responses.closed() => NextEvent::CallerGone,
            () = sleep_until(idle.min(self.deadline)) => NextEvent::Ended(match idle < self.deadline {
                true => ended(Cause::Idle, format!("it was idle for {idle_timeout:?}")),
                false => ended(Cause::TimeLimit, "its time limit was over"),
            }),
        }
    }

    /// Gives everything back, and then says the last word.
    async fn close(self, pinned: Pinned, step: StepOutcome, started: Instant) {
        pinned.finish().await;
        let outcome = match step {
            StepOutcome::Open(outcome) | StepOutcome::Over(outcome) => outcome,
            StepOutcome::Committed(probed) => {
                let position = match (probed.position(), self.runs_on) {
                    // Any position after the commit will do.
                    (None, RunsOn::Primary) => {
                        let deadline = self.deadline.min(Instant::now() + PROBE_TIMEOUT);
                        self.executor.probe(deadline).await
                    }
                    _ => probed,
                };
                let position = position.position().map(Into::into);
                Outcome::Committed(proto::TransactionCommitted { position })
            }
        };
        drop(self.place);
        // Nobody may be there to hear it.
        let _ = timeout(LAST_WORD_TIMEOUT, self.responses.send(response(outcome, started))).await;
    }

    fn step_deadline(&self, request: &proto::TransactRequest) -> Instant {
        match request.step_timeout_millis {
            0 => self.deadline,
            millis => self.deadline.min(Instant::now() + Duration::from_millis(millis).min(MAX_STEP_TIMEOUT)),
        }
    }

    /// Runs `work`, whose limit learns when the caller goes away in the meantime. A request that comes before the answer
    /// to the last one counts as that: nobody who keeps to the protocol sends it.
    async fn attended<T, F>(&mut self, deadline: Instant, work: impl FnOnce(Limit) -> F) -> T
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

fn response(outcome: Outcome, started: Instant) -> proto::TransactResponse {
    let execute_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    proto::TransactResponse { outcome: Some(outcome), execute_micros }
}

/// There is one for each request, and one that comes by itself.
const RESPONSES: usize = 2;

/// A transaction that nobody works on holds locks, and back what vacuum may clean up.
pub(crate) const MAX_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Beyond it time stops being a limit, and clocks overflow.
const MAX_STEP_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// As long as for a connection that has to be opened anew.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connection and place are given back by then.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);
