//! [`Exchange`], which sends a transaction's requests and receives their responses.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join;
use homing_proto::v1 as proto;
use proto::transact_request::Step as Asked;
use proto::transact_response::Outcome;
use proto::transaction_ended::Cause;
use tokio::time::Instant;
use tracing::debug;

use super::before::Before;
use super::error::{Aborted, lost, over, read_only};
use super::retry::is_conflict;
use super::savepoints::SavepointId;
use super::{StreamState, Transaction};
use crate::call::report::AnsweredBy;
use crate::engine::Engine;
use crate::engine::ahead::Ahead;
use crate::error::{Error, Result};
use crate::outcome::Outcome as WriteOutcome;
use crate::outcome::key::IdempotencyKey;
use crate::position::Position;
use crate::position::role::Role;
use crate::position::snapshot::Snapshot;
use crate::primary::execute::Trip;
use crate::primary::outcome::Settled;
use crate::primary::pauses::Pauses;
use crate::primary::rejection::rejected;
use crate::primary::stream::{Opening, ReceiveError, TransactionStream};
use crate::reading::plan::OnLocalPrimary;
use crate::reading::reader::Reader;
use crate::statement::kind::{RunsOn, Writes};
use crate::statement::refusal::says_that_it_writes;

/// The response to a step.
#[derive(Debug)]
pub(super) struct StepAnswer {
    pub(super) outcome: Outcome,
    pub(super) trip: Trip,
}

/// The response to a commit.
#[derive(Debug)]
pub(crate) struct CommittedTransaction {
    pub(crate) position: Option<Position>,
    /// Whether PostgreSQL says that it wrote nothing.
    pub(crate) unchanged: bool,
    /// Whether the wait for a synchronous replica was cancelled.
    pub(crate) not_replicated: bool,
    pub(crate) trip: Trip,
}

/// Sends the requests of a transaction, one at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) transaction: &'a Transaction,
}

impl Exchange<'_> {
    /// Sends a step and returns its response. Any other response is an error, and may abort the transaction.
    ///
    /// # Cancel safety
    ///
    /// A dropped step may be executed or not: the transaction, or the nested one, is aborted.
    pub(super) async fn send(&self, savepoint: SavepointId, step: Asked) -> Result<StepAnswer> {
        tokio::select! {
            // A call in a transaction that has ended fails, even if its response has arrived.
            biased;
            () = self.transaction.ended() => Err(over()),
            answer = self.send_in_turn(savepoint, step) => answer,
        }
    }

    /// Begins the transaction without a statement of its caller. If a transaction with the same key is committed, that is the
    /// error.
    pub(crate) async fn look(&self) -> Result<()> {
        self.send(SavepointId::OUTERMOST, Asked::Prepare("select 1".to_owned())).await.map(drop)
    }

    /// Sends the commit, with the result that is kept with the transaction's key. `None` if the transaction had no statements.
    /// If no answer comes, settles the key.
    pub(crate) async fn commit(&self, result: Option<Bytes>) -> Result<Option<CommittedTransaction>> {
        let transaction = self.transaction;
        let mut state = transaction.state.lock().await;
        let state = std::mem::replace(&mut *state, StreamState::Closed);
        // A call in a task that the closure spawned may have failed in the meantime.
        transaction.savepoints().check_failure()?;
        match state {
            StreamState::Unopened => Ok(None),
            StreamState::Opening => Err(lost(DROPPED_AT_BEGIN)),
            StreamState::Closed => Err(lost(ENDED_BEFORE)),
            StreamState::Open { stream, outstanding } => {
                if transaction.deadline <= Instant::now() {
                    return Err(too_late(transaction));
                }
                let (deadline, started) = (self.step_deadline(), Instant::now());
                let answered_by = stream.answered_by.clone();
                let committed = send_commit(transaction, stream, outstanding, result, deadline).await;
                match (committed, transaction.key()) {
                    (Err(error), Some(key)) if error.is_outcome_unknown() => {
                        let position = self.settle(key.once.key, error, deadline).await?;
                        let forward = started.elapsed();
                        let trip = Trip { answered_by, attempts: 1, forward, execute: Duration::ZERO };
                        Ok(Some(CommittedTransaction { position, unchanged: false, not_replicated: false, trip }))
                    }
                    (committed, _) => committed.map(Some),
                }
            }
        }
    }

    /// Finds out what became of a commit without an answer. If it is committed, returns a position that is not before it.
    async fn settle(&self, key: IdempotencyKey, interrupted: Error, deadline: Instant) -> Result<Option<Position>> {
        let (engine, mut pauses) = (self.engine, Pauses::until(deadline));
        let session = engine.history(Writes::Yes);
        loop {
            // Boxed, since the compiler limits how deep futures may be nested, and applications nest further.
            let error = match engine.primary().settle(key, &session, deadline).boxed().await {
                Ok(Settled { outcome: WriteOutcome::Committed, position, .. }) => return Ok(position),
                Ok(Settled { outcome: WriteOutcome::NotCommitted | WriteOutcome::Expired, .. }) => {
                    return Err(lost(interrupted));
                }
                Err(error) => error,
            };
            debug!(%error, "what became of a commit is not known");
            if error.is_misuse() || !pauses.pause().await {
                return Err(interrupted.with_key(key));
            }
        }
    }

    /// Rolls the transaction back, and waits for that as long as a call may take.
    pub(crate) async fn roll_back(&self) {
        let transaction = self.transaction;
        // A call in a task that the closure spawned stops waiting for its response, and unlocks the state.
        transaction.end();
        let deadline = self.engine.deadline();
        let Ok(mut state) = tokio::time::timeout_at(deadline, transaction.state.lock()).await else { return };
        if let StreamState::Open { stream, .. } = std::mem::replace(&mut *state, StreamState::Closed) {
            stream.roll_back(deadline).await;
        }
    }

    async fn send_in_turn(&self, savepoint: SavepointId, step: Asked) -> Result<StepAnswer> {
        let transaction = self.transaction;
        let mut state = transaction.state.lock().await;
        transaction.savepoints().check(savepoint)?;
        let schema = self.engine.schema().unwrap_or_default().to_owned();
        let request = proto::TransactRequest { step: Some(step), schema, ..proto::TransactRequest::default() };
        self.engine.rpc().check_size(&request)?;
        let interruption = Interruption(Some(transaction));
        let answer = self.exchange(&mut state, request).await;
        interruption.disarm();
        if transaction.savepoints().is_failed_for_good() {
            *state = StreamState::Closed;
        }
        answer
    }

    async fn exchange(&self, state: &mut StreamState, request: proto::TransactRequest) -> Result<StepAnswer> {
        let transaction = self.transaction;
        let started = Instant::now();
        if started >= transaction.deadline {
            return Err(fatal(transaction, too_late(transaction)));
        }
        let response = match state {
            StreamState::Unopened => self.exchange_first(state, request).boxed().await?,
            StreamState::Open { stream, outstanding } => {
                let deadline = self.step_deadline();
                if *outstanding {
                    let dropped = receive(transaction, stream, deadline).await?;
                    check_going_on(transaction, dropped, &stream.place)?;
                }
                let savepoints = transaction.savepoints().take_pending();
                *outstanding = true;
                // If the request could not be sent, the response says why.
                stream.send(proto::TransactRequest { savepoints, ..request }, deadline);
                let response = receive(transaction, stream, deadline).await?;
                *outstanding = false;
                response
            }
            StreamState::Opening => return Err(fatal(transaction, lost(DROPPED_AT_BEGIN))),
            StreamState::Closed => return Err(fatal(transaction, lost(ENDED_BEFORE))),
        };
        let StreamState::Open { stream, .. } = state else { return Err(lost(ENDED_BEFORE)) };
        let trip = trip(stream, started, response.execute_micros);
        let outcome = check_going_on(transaction, response, &stream.place)?;
        // Even a rejection tells what is stored.
        self.engine.note_unknown_read(stream.server.as_ref());
        match outcome {
            Outcome::Rejection(rejection) => {
                let error = refused(transaction, rejection, &stream.place);
                transaction.savepoints().fail(Aborted::by(&error));
                Err(error)
            }
            Outcome::Stale(stale) => Err(Error::stale(stale.message)),
            outcome => Ok(StepAnswer { outcome, trip }),
        }
    }

    /// Begins the transaction with its first request, and returns the response. If the primary does not show yet what replicas
    /// have shown to the session, begins it again.
    async fn exchange_first(
        &self,
        state: &mut StreamState,
        mut request: proto::TransactRequest,
    ) -> Result<proto::TransactResponse> {
        let (transaction, mut ahead) = (self.transaction, None);
        request.savepoints = transaction.savepoints().take_pending();
        loop {
            let begun = self.begin(state, request.clone(), &mut ahead).await;
            let deadline = begun.inspect_err(|_| transaction.savepoints().put_back(request.savepoints.clone()))?;
            let StreamState::Open { stream, outstanding } = state else { return Err(lost(ENDED_BEFORE)) };
            let response = receive(transaction, stream, deadline).await?;
            *outstanding = false;
            let snapshot = response.snapshot.as_ref().map(Snapshot::from_proto);
            let Some(ahead) = ahead.as_mut().filter(|_| has_begun(&response)) else { return Ok(response) };
            if ahead.is_shown_in(snapshot).await {
                return Ok(response);
            }
            if let StreamState::Open { stream, .. } = std::mem::replace(state, StreamState::Unopened) {
                stream.roll_back(deadline).await;
            }
            let paused = ahead.pause().await;
            paused.inspect_err(|_| transaction.savepoints().put_back(request.savepoints.clone()))?;
        }
    }

    /// Begins the transaction with its first request, and returns the deadline of the response.
    async fn begin<'b>(
        &'b self,
        state: &mut StreamState,
        mut request: proto::TransactRequest,
        ahead: &mut Option<Ahead<'b>>,
    ) -> Result<Instant> {
        let transaction = self.transaction;
        let writes = if transaction.is_read_only() { Writes::No } else { Writes::Yes };
        let session = self.engine.history(writes);
        request.begin = Some(transaction.begin(self.engine.primary().scope(), &session));
        *state = StreamState::Opening;
        // Boxed, since the compiler limits how deep futures may be nested, and applications nest further.
        let opened = match self.open(request.clone(), ahead).boxed().await {
            Err(error) if error.is_unprotected() => {
                self.engine.primary().protection.note_missing();
                match transaction.note_unprotected() {
                    false => Err(error),
                    true => {
                        request.begin = Some(transaction.begin(self.engine.primary().scope(), &session));
                        self.open(request, ahead).boxed().await
                    }
                }
            }
            opened => opened,
        };
        match self.engine.heed(&session, None, opened) {
            Ok((stream, deadline)) => {
                transaction.note_is_local(stream.is_local());
                *state = StreamState::Open { stream, outstanding: true };
                Ok(deadline)
            }
            Err(error) => {
                *state = StreamState::Unopened;
                Err(error)
            }
        }
    }

    /// Opens a snapshot of the local database if it has reached the session's position, and otherwise a transaction on
    /// the primary. Sets `ahead` if the primary may not show what replicas have shown to the session.
    async fn open<'b>(
        &'b self,
        mut request: proto::TransactRequest,
        ahead: &mut Option<Ahead<'b>>,
    ) -> Result<(TransactionStream, Instant)> {
        let Self { engine, transaction } = self;
        let opening = |request: &proto::TransactRequest| Opening {
            request: request.clone(),
            step_deadline: self.step_deadline(),
            deadline: transaction.deadline,
            ask_locally: engine.ask_locally(if transaction.is_read_only() { Writes::No } else { Writes::Maybe }),
        };
        if transaction.reads_replica()
            && let Some(chosen) = Reader::new(engine, RunsOn::Any, OnLocalPrimary::Read).server().await?
        {
            let (database, opening) = (chosen.member.database(), opening(&request));
            let executor = database.executor().on(chosen.take_connection());
            let begun = engine.primary().transact_locally(database, &executor, &opening, RunsOn::Any).await;
            match begun.and_then(|stream| chosen.check().map(|()| stream)) {
                Err(error)
                    if error.is_not_primary()
                        || database.role() != Some(Role::Primary) && error.is_not_sent() && !error.is_overloaded() =>
                {
                    debug!(%error, "the local replica cannot answer");
                }
                outcome => return Ok((outcome?, opening.step_deadline)),
            }
        }
        engine.wait_for_local_primary(self.step_deadline()).await?;
        if ahead.is_none() {
            *ahead = engine.ahead(self.step_deadline());
        }
        if let Some(begin) = &mut request.begin {
            begin.ask_snapshot = ahead.is_some();
        }
        let opening = opening(&request);
        let asking = async {
            if let Some(ahead) = ahead {
                ahead.ask().await;
            }
        };
        let (stream, ()) = join(engine.primary().transact(&opening), asking).await;
        Ok((stream?, opening.step_deadline))
    }

    fn step_deadline(&self) -> Instant {
        self.transaction.deadline.min(self.engine.deadline())
    }
}

/// Aborts the transaction if a call is dropped before its response.
struct Interruption<'a>(Option<&'a Transaction>);

impl Interruption<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Interruption<'_> {
    fn drop(&mut self) {
        if let Some(transaction) = self.0 {
            transaction.savepoints().fail(Aborted::because("a call was dropped before its answer came"));
        }
    }
}

async fn send_commit(
    transaction: &Transaction,
    mut stream: TransactionStream,
    outstanding: bool,
    result: Option<Bytes>,
    deadline: Instant,
) -> Result<CommittedTransaction> {
    let started = Instant::now();
    if outstanding {
        let dropped = receive(transaction, &mut stream, deadline).await?;
        check_going_on(transaction, dropped, &stream.place)?;
    }
    let savepoints = transaction.savepoints().take_pending();
    let step = Some(match transaction.key() {
        Some(_) => Asked::CommitOnce(proto::CommitOnce { result }),
        None => Asked::Commit(proto::CommitTransaction {}),
    });
    let sent = stream.send(proto::TransactRequest { savepoints, step, ..Default::default() }, deadline);
    let place = stream.place.clone();
    let response = match stream.receive(deadline).await {
        Ok(response) => response,
        Err(error) if sent => return Err(unknown(&place, &error)),
        Err(error) => return Err(lost(no_answer(&place, &error))),
    };
    let trip = trip(&stream, started, response.execute_micros);
    match response.outcome {
        Some(Outcome::Committed(committed)) => {
            if let Some(before) = Before::from_proto(&committed) {
                return Err(transaction.note_before(before).error());
            }
            let position = committed.position.as_ref().and_then(Position::from_proto);
            let proto::TransactionCommitted { unchanged, not_replicated, .. } = committed;
            Ok(CommittedTransaction { position, unchanged, not_replicated, trip })
        }
        Some(Outcome::Rejection(rejection)) => Err(refused(transaction, rejection, &place)),
        Some(Outcome::Ended(end)) => Err(ended(end, &place)),
        Some(Outcome::CommitUnknown(unknown)) => {
            Err(Error::outcome_unknown(format!("{place} may have committed the transaction: {}", unknown.message)))
        }
        _ => Err(Error::outcome_unknown(format!(
            "{place} answered the commit with a response that this build cannot read: update this node, and check \
             whether the transaction is committed before you run it again"
        ))),
    }
}

/// Returns whether a response leaves the transaction open, so that what it sees matters.
fn has_begun(response: &proto::TransactResponse) -> bool {
    use Outcome::{Prepared, Rejection, Results, Stale};
    matches!(response.outcome, Some(Results(_) | Prepared(_) | Rejection(_) | Stale(_)))
}

/// Receives the next response. Without one the transaction is over.
async fn receive(
    transaction: &Transaction,
    stream: &mut TransactionStream,
    deadline: Instant,
) -> Result<proto::TransactResponse> {
    match stream.receive(deadline).await {
        Ok(response) => Ok(response),
        Err(error) => Err(fatal(transaction, lost(no_answer(&stream.place, &error)))),
    }
}

/// Returns the outcome of a response after which the transaction goes on.
fn check_going_on(transaction: &Transaction, response: proto::TransactResponse, place: &str) -> Result<Outcome> {
    match response.outcome {
        Some(Outcome::Ended(end)) => Err(fatal(transaction, ended(end, place))),
        Some(Outcome::Committed(committed)) if committed.before.is_some() => {
            let before = Before::from_proto(&committed).expect("checked");
            Err(fatal(transaction, transaction.note_before(before).error()))
        }
        Some(Outcome::Committed(_) | Outcome::CommitUnknown(_)) | None => {
            let message = format!("{place} sent a response that this build cannot read: update this node");
            Err(fatal(transaction, lost(message)))
        }
        Some(outcome) => Ok(outcome),
    }
}

fn too_late(transaction: &Transaction) -> Error {
    Error::timed_out(format!(
        "the transaction was not committed within its time limit of {:?} and is rolled back: do less in it, or raise \
         time_limit",
        transaction.options.time_limit
    ))
}

fn fatal(transaction: &Transaction, error: Error) -> Error {
    transaction.savepoints().fail_for_good(Aborted::by(&error));
    error
}

/// Makes the error of a rejection. If PostgreSQL says that a statement writes in a transaction that only reads, the
/// error is misuse, as for a statement that is known to write. Notes a conflict.
fn refused(transaction: &Transaction, rejection: proto::Rejection, place: &str) -> Error {
    if matches!(rejection.cause, Some(proto::rejection::Cause::Unprotected(_))) {
        return Error::misuse("a transaction with a key needs the table of outcomes: see migration_sql");
    }
    let error = rejected(rejection, place);
    if error.db().is_some_and(is_conflict) {
        transaction.note_conflict();
    }
    match error.db() {
        Some(database) if transaction.is_read_only() && says_that_it_writes(database) => {
            read_only(Some(database.clone()))
        }
        _ => error,
    }
}

fn ended(end: proto::TransactionEnded, place: &str) -> Error {
    let message = &end.message;
    match end.cause() {
        Cause::Idle => {
            lost(format!("{place} ended it because {message}: do less between two statements, or raise idle_timeout"))
        }
        Cause::TimeLimit => Error::timed_out(format!(
            "{place} rolled the transaction back: {message}; find out what it waits for, or raise call_timeout or \
             time_limit"
        )),
        Cause::RowsTooLarge | Cause::BadRequest => {
            Error::misuse(format!("{place} rolled the transaction back: {message}"))
        }
        Cause::DatabaseLost | Cause::Unspecified => lost(format!("{place} ended it: {message}")),
    }
}

fn unknown(place: &str, error: &ReceiveError) -> Error {
    Error::outcome_unknown(format!(
        "{}; COMMIT was under way, so the transaction may be committed: check before you run it again",
        no_answer(place, error)
    ))
}

fn no_answer(place: &str, error: &ReceiveError) -> String {
    match error {
        ReceiveError::Lost(message) => format!("{place} was lost: {message}"),
        ReceiveError::TimedOut => format!("{place} did not answer in time"),
    }
}

fn trip(stream: &TransactionStream, started: Instant, execute_micros: u64) -> Trip {
    let elapsed = started.elapsed();
    let execute = Duration::from_micros(execute_micros).min(elapsed);
    let forward = match stream.answered_by {
        AnsweredBy::Local => Duration::ZERO,
        AnsweredBy::Peer(_) | AnsweredBy::Unknown => elapsed - execute,
    };
    let answered_by = stream.answered_by.clone();
    Trip { answered_by, attempts: stream.attempts, forward, execute }
}

const DROPPED_AT_BEGIN: &str = "its first call was dropped before the response";

const ENDED_BEFORE: &str = "it has ended before";
