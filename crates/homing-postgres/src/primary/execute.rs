//! Runs statements in one transaction on the primary.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homing_proto::v1 as proto;
use homing_rpc::{Dispatched, Reason, Retry, explain_unimplemented};
use proto::execute_response::Outcome;
use proto::rejection::Cause;
use tokio::time::Instant;
use tonic::Status;
use tracing::debug;

use super::attempts::{Attempts, AttemptsEnd};
use super::pauses::Pauses;
use super::rejection::{failed, rejected};
use super::{Primary, PrimaryRequest, local_place, peer_place};
use crate::call::report::{AnsweredBy, Report, Stages};
use crate::error::{Error, Result};
use crate::outcome::key::IdempotencyKey;
use crate::position::Position;
use crate::position::snapshot::Snapshot;
use crate::replicas::Member;
use crate::statement::kind::{Ask, Writes};

/// The results of statements that ran on the primary.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) results: Vec<proto::StatementResult>,
    pub(crate) rows_dropped: bool,
    /// `None` if the local primary was not asked for it, or no answer came.
    pub(crate) position: Option<Position>,
    /// Whether PostgreSQL says that the statements wrote nothing.
    pub(crate) unchanged: bool,
    /// Whether the wait for a synchronous replica was cancelled.
    pub(crate) not_replicated: bool,
    pub(crate) trip: Trip,
}

/// How a request reached the primary, and how long it took.
#[derive(Debug)]
pub(crate) struct Trip {
    pub(crate) answered_by: AnsweredBy,
    pub(crate) attempts: u32,
    pub(crate) forward: Duration,
    pub(crate) execute: Duration,
}

/// What is asked besides the statements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskPrimary<'a> {
    /// The questions for a local primary.
    pub(crate) locally: Ask,
    /// Where the snapshot of a primary behind a peer goes, if it is asked for it.
    pub(crate) snapshot: Option<&'a SnapshotSlot>,
}

/// The snapshot of the primary that came with the last answer, even if the answer is an error.
#[derive(Debug, Default)]
pub(crate) struct SnapshotSlot(Mutex<Option<Snapshot>>);

struct Execute<'a> {
    request: proto::ExecuteRequest,
    attempts: Option<Attempts>,
    writes: Writes,
    ask: AskPrimary<'a>,
    deadline: Instant,
}

impl Primary {
    /// Runs the statements in one transaction, on a primary that has the positions of `session` in its history. A peer answers
    /// with their position, and says if they wrote nothing.
    ///
    /// With a key, they are sent again until the deadline if what became of them is not known.
    pub(crate) async fn execute(
        &self,
        statements: Vec<proto::Statement>,
        key: Option<IdempotencyKey>,
        writes: Writes,
        ask: AskPrimary<'_>,
        session: &[Position],
        deadline: Instant,
    ) -> Result<Executed> {
        let (ask_unchanged, ask_snapshot) = (writes == Writes::Maybe, ask.snapshot.is_some());
        let (database, session) = (self.scope.to_wire(), to_wire(session));
        let request = proto::ExecuteRequest { database, statements, ask_unchanged, session, ask_snapshot };
        let attempts = key.filter(|key| key.is_own() || self.protection.is_expected()).map(Attempts::new);
        let mut execute = Execute { request, attempts, writes, ask, deadline };
        let executed = match self.send_until_known(&execute).await {
            Err(error) if error.is_unprotected() => {
                self.protection.note_missing();
                execute.attempts = None;
                self.send(&execute).await?
            }
            executed => executed.map_err(|error| if writes == Writes::No { unanswered(error) } else { error })?,
        };
        if let Some(position) = executed.position {
            self.replicas.heard(position);
        }
        Ok(executed)
    }
}

impl Primary {
    /// Sends a request, and sends it again as long as it is in doubt.
    async fn send_until_known(&self, execute: &Execute<'_>) -> Result<Executed> {
        let Some(attempts) = &execute.attempts else { return self.send(execute).await };
        let mut pauses = Pauses::until(execute.deadline);
        loop {
            let error = match self.send(execute).await {
                Err(error) if attempts.is_in_doubt() => error,
                Err(_) if attempts.catches_up() => continue,
                ended => return ended,
            };
            debug!(%error, "what became of a write is not known");
            if attempts.are_given_up() || !pauses.pause().await {
                return Err(attempts.unknown(error));
            }
        }
    }
}

impl Execute<'_> {
    fn answered(&self, response: proto::ExecuteResponse, trip: Trip, place: &str) -> Result<Executed> {
        let cause = match &response.outcome {
            Some(Outcome::Rejection(rejection)) => rejection.cause.as_ref(),
            _ => None,
        };
        let is_unprotected = matches!(cause, Some(Cause::Unprotected(_)));
        let fence = if let Some(Cause::KeySettled(settled)) = cause { settled.fence } else { 0 };
        let executed = Executed::of(response, trip, place);
        match &self.attempts {
            Some(attempts) if is_unprotected => executed.map_err(|error| attempts.unprotected(error)),
            Some(attempts) if fence > 0 => executed.inspect_err(|_| attempts.refused(fence)),
            _ => executed,
        }
    }

    fn noted(&self, executed: Result<Executed>) -> Result<Executed> {
        if let Some(attempts) = &self.attempts {
            attempts.note(AttemptsEnd::of(executed.as_ref().err()));
        }
        executed
    }
}

impl PrimaryRequest for Execute<'_> {
    type Answer = Executed;

    fn answer_by(&self) -> Instant {
        self.deadline
    }

    async fn run_locally(&self, primary: &Primary, member: &Arc<Member>) -> Result<Executed> {
        let database = member.database();
        let place = local_place(database);
        let local = primary.local().clone();
        let executor = database.executor();
        let once = self.attempts.as_ref().map(Attempts::next);
        let response = executor.execute(self.request.clone(), once, local, self.deadline, self.ask.locally).await;
        self.noted(response.map_err(|failure| failed(failure, &place)).and_then(|response| {
            let execute = Duration::from_micros(response.execute_micros);
            let trip = Trip { answered_by: AnsweredBy::Local, attempts: 0, forward: Duration::ZERO, execute };
            self.answered(response, trip, &place)
        }))
    }

    async fn forward(&self, primary: &Primary) -> Result<Executed> {
        primary.rpc.check_size(&self.request)?;
        self.noted(self.forward_checked(primary).await)
    }
}

impl Execute<'_> {
    async fn forward_checked(&self, primary: &Primary) -> Result<Executed> {
        let extended = self.request.statements.iter().any(is_extended);
        let retry = match (self.writes, &self.attempts) {
            (Writes::No, _) | (_, Some(_)) => Retry::Always,
            (Writes::Maybe | Writes::Yes, None) => Retry::NotProcessed,
        };
        let dispatched = primary
            .dispatch(
                "execute",
                retry,
                self.deadline,
                |mut client, request| {
                    let once = self.attempts.as_ref().map(|attempts| attempts.next().to_proto());
                    async move {
                        let executed = match once {
                            Some(once) => {
                                let request = proto::ExecuteOnceRequest { request: Some(request), once: Some(once) };
                                client.execute_once(request).await.map_err(explain_unimplemented)
                            }
                            None => client.execute(request).await,
                        };
                        executed.map_err(|status| if extended { too_old(status) } else { status })
                    }
                },
                self.request.clone(),
            )
            .await?;
        let Dispatched { response, peer, attempts, forward, .. } = dispatched;
        if let Some(slot) = self.ask.snapshot {
            slot.put(response.snapshot.as_ref().map(Snapshot::from_proto));
        }
        let execute = Duration::from_micros(response.execute_micros).min(forward);
        let place = peer_place(&peer);
        let trip = Trip { answered_by: AnsweredBy::Peer(peer), attempts, forward: forward - execute, execute };
        self.answered(response, trip, &place)
    }
}

impl SnapshotSlot {
    pub(crate) fn take(&self) -> Option<Snapshot> {
        self.lock().take()
    }

    fn put(&self, snapshot: Option<Snapshot>) {
        *self.lock() = snapshot;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Snapshot>> {
        // No code under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executed {
    pub(super) fn of(response: proto::ExecuteResponse, trip: Trip, place: &str) -> Result<Self> {
        match response.outcome {
            Some(Outcome::Results(results)) => {
                let position = response.position.as_ref().and_then(Position::from_proto);
                let proto::StatementResults { results, rows_dropped } = results;
                let proto::ExecuteResponse { unchanged, not_replicated, .. } = response;
                Ok(Self { results, rows_dropped, position, unchanged, not_replicated, trip })
            }
            Some(Outcome::Rejection(rejection)) => Err(rejected(rejection, place)),
            None => Err(Error::outcome_unknown(format!(
                "{place} sent an answer that this build cannot read: update this node, and check what is stored before \
                 you try again"
            ))),
        }
    }
}

impl Trip {
    /// Makes the report of a call that began at `started`.
    pub(crate) fn report(&self, operation: &'static str, started: Instant, position: Option<Position>) -> Report {
        // The rest was spent on this node.
        let route = started.elapsed().saturating_sub(self.forward + self.execute);
        Report {
            position,
            attempts: self.attempts,
            stages: Stages { route, forward: self.forward, execute: self.execute, ..Stages::default() },
            ..Report::new(operation, self.answered_by.clone())
        }
    }
}

/// Returns the error of statements that only read. Without an answer, nothing was changed either.
fn unanswered(error: Error) -> Error {
    if !error.is_outcome_unknown() {
        return error;
    }
    Error::not_sent(format!("the read was not answered, and nothing was changed: {error}")).with_source(error)
}

/// Returns the positions that a server has to have in its history, for a request.
pub(crate) fn to_wire(session: &[Position]) -> Vec<proto::Position> {
    session.iter().map(|position| position.to_proto("")).collect()
}

/// Returns whether a build without batches would reject the statement.
fn is_extended(statement: &proto::Statement) -> bool {
    !statement.references.is_empty() || statement.expected_rows.is_some()
}

/// A build without batches rejects such a statement, since it counts one value too many. Another peer may be newer.
fn too_old(status: Status) -> Status {
    match Reason::of(&status) {
        Some(Reason::BadArguments) => {
            Reason::ProtocolVersion.status(format!("its build is too old for batches, update it: {}", status.message()))
        }
        _ => status,
    }
}
