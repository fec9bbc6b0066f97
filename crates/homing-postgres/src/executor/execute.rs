//! One request: its statements in one transaction, and the position after the commit.
//!
//! # Task
//!
//! `Executor::execute` and `Executor::prepare` spawn a task and await it. It owns a pooled connection. If the call is
//! dropped, or its deadline passes, the task cancels the running statement ([`Limit`]) and ends with it, at the latest
//! some seconds later. It uses no channel other than the `oneshot` that closes when the caller is gone. A panic
//! continues in the caller.

use std::time::Duration;

use homing_proto::v1 as proto;
use homing_rpc::Reason;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tracing::{Instrument, debug, debug_span};

use super::Executor;
use super::failure::Failure;
use super::history::positions;
use super::keyed::carried;
use super::keyed::carrying::Carried;
use super::keyed::claims::Claim;
use super::keyed::once::Looked;
use super::limit::{Limit, Limited};
use super::prepared::Prepared;
use super::probe::Probed;
use super::question::asks_for_position;
use super::run::{RequestRun, RunOutcome};
use super::within::{OwnBlock, Within};
use crate::connection::block;
use crate::connection::pool::Connection;
use crate::error::database::DatabaseError;
use crate::outcome::ended::{Answer, Ended, Settlement};
use crate::outcome::fingerprint;
use crate::outcome::once::Once;
use crate::position::Position;
use crate::position::kind::PositionKind;
use crate::position::role::Role;
use crate::scope::LocalSettings;
use crate::scope::schema::tagged;
use crate::statement::description::StatementDescription;
use crate::statement::kind::{Ask, RunsOn, Written};
use crate::statement::sql::shown;

impl Executor {
    /// Runs the statements in one transaction, and asks the questions of `ask`. With a key, they are applied once, however often
    /// the request comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the running statement. A commit that is already under way is not undone.
    pub(crate) async fn execute(
        &self,
        request: proto::ExecuteRequest,
        once: Option<Once>,
        local: LocalSettings,
        deadline: Instant,
        ask: Ask,
    ) -> Result<proto::ExecuteResponse, Failure> {
        let (executor, started) = (self.clone(), Instant::now());
        let first = request.statements.first().map(|statement| shown(&statement.sql));
        let span = debug_span!("execute", sql = first, statements = request.statements.len());
        let run = |limit| async move {
            let started = Instant::now();
            let ended = match once {
                Some(once) => executor.run_once(&request, once, &local, limit, ask).await,
                None => executor.run(&request, None, &local, limit, ask).await,
            };
            ended.map(|ended| ended.into_response(started.elapsed()))
        };
        let executed = self.spawn_limited(deadline, run).instrument(span.clone()).await;
        span.in_scope(|| debug!(elapsed = ?started.elapsed(), "executed"));
        executed
    }

    /// Prepares a statement without running it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request. There is nothing to undo.
    pub(crate) async fn prepare(
        &self,
        sql: String,
        local: LocalSettings,
        deadline: Instant,
    ) -> Result<proto::PrepareResponse, Failure> {
        use proto::prepare_response::Outcome;
        let executor = self.clone();
        let span = debug_span!("prepare", sql = shown(&sql));
        self.spawn_limited(deadline, |mut limit| async move {
            let connection = limit.connection(&executor.pool, RunsOn::Any).await?;
            executor.check_cluster(&connection)?;
            // The caller may ask because what this node knows is stale.
            connection.forget(&tagged(local.schema.as_ref(), &sql));
            let preparing = block::prepare(&connection, &local, &sql);
            // A cancellation may hit the BEGIN of the block, or arrive late, so a later answer is not used.
            let Limited::Ended(prepared) = limit.run(connection.cancellation(), preparing).await else {
                connection.discard();
                return Err(Failure::unavailable("the primary did not prepare the statement before the deadline"));
            };
            let outcome = match prepared {
                Ok(statement) => Outcome::Statement(StatementDescription::of(&statement).to_proto()),
                Err(error) => Outcome::Rejected(executor.database_error(&error)?.to_proto()),
            };
            Ok(proto::PrepareResponse { outcome: Some(outcome) })
        })
        .instrument(span)
        .await
    }

    /// Spawns `work` and awaits it. Its limit ends when this future is dropped.
    async fn spawn_limited<T, F>(&self, deadline: Instant, work: impl FnOnce(Limit) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (_caller, gone) = oneshot::channel();
        match tokio::spawn(work(Limit::new(deadline, gone)).in_current_span()).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Failure::Unknown("the node is shutting down".into())),
            },
        }
    }

    /// Runs a request with a key. Before an attempt that may not be the first one reports a failure, it makes sure that no earlier
    /// one is committed, or will be.
    async fn run_once(
        &self,
        request: &proto::ExecuteRequest,
        once: Once,
        local: &LocalSettings,
        limit: Limit,
        ask: Ask,
    ) -> Result<RunOutcome, Failure> {
        let (deadline, fingerprint) = (limit.deadline(), fingerprint::of_request(request));
        let outcome = self.run(request, Some((once, fingerprint)), local, limit, ask).await;
        let ended = ended(&outcome);
        if !ended.settles(once.again) {
            return outcome;
        }
        let settle_by = match ended {
            Ended::Interrupted { .. } => Instant::now() + SETTLE_TIMEOUT,
            _ => deadline.max(Instant::now() + SETTLE_TIMEOUT),
        };
        let (settlement, failure) = match self.settle(once.key, Some(fingerprint), settle_by).await {
            Ok(Some(known)) => (Settlement::Told(known), None),
            Ok(None) => (Settlement::Unprotected, None),
            Err(failure) => (Settlement::Failed, Some(failure)),
        };
        match (ended.answer(settlement), outcome, failure) {
            (Answer::Committed, Ok(RunOutcome::Interrupted { results, .. }), _) => {
                Ok(self.answered(results, settle_by).await)
            }
            (Answer::NotCommitted, Ok(RunOutcome::Interrupted { message, .. }), _) => {
                Err(Failure::Settled(Reason::DatabaseUnavailable, message))
            }
            (Answer::CommittedBefore(result), ..) => {
                Ok(self.answered_anyway(read(result), &positions(&request.session), settle_by).await)
            }
            (_, Ok(RunOutcome::Interrupted { message, .. }), _) => Err(Failure::Unknown(message)),
            (Answer::Reused, ..) => Ok(RunOutcome::KeyReused),
            (Answer::Unprotected, ..) => Ok(RunOutcome::Unprotected),
            (_, _, Some(failure)) => Err(failure),
            (_, outcome, None) => outcome.map_err(Failure::settled),
        }
    }

    /// Returns the answer of an earlier attempt, whatever became of what the session has seen. If that may be lost, the answer has
    /// no position: one would say that the history of this primary has all of it.
    async fn answered_anyway(
        &self,
        results: Option<proto::StatementResults>,
        session: &[Position],
        deadline: Instant,
    ) -> RunOutcome {
        let answer = self.answered(results, deadline).await;
        match (answer, self.check_session(session, deadline).await) {
            (RunOutcome::Committed { results, written, not_replicated, .. }, Err(_)) => {
                RunOutcome::Committed { results, position: Probed::NotAsked, written, not_replicated }
            }
            (answer, _) => answer,
        }
    }

    /// Returns the answer of an attempt that is committed.
    async fn answered(&self, results: Option<proto::StatementResults>, deadline: Instant) -> RunOutcome {
        // Without results, the caller learns that it is committed.
        let results = results.unwrap_or(proto::StatementResults { results: Vec::new(), rows_dropped: true });
        let position = self.probe(deadline).await;
        RunOutcome::Committed { results, position, written: Written::Unknown, not_replicated: false }
    }

    async fn run(
        &self,
        request: &proto::ExecuteRequest,
        once: Option<(Once, i64)>,
        local: &LocalSettings,
        mut limit: Limit,
        ask: Ask,
    ) -> Result<RunOutcome, Failure> {
        let connection = limit.connection(&self.pool, RunsOn::Primary).await?;
        self.check_history(&connection, &positions(&request.session), limit.deadline()).await?;
        let claim = match once {
            None => None,
            Some((once, fingerprint)) => {
                let looking = self.look(&connection, once, fingerprint);
                let Limited::Ended(looked) = limit.run(connection.cancellation(), looking).await else {
                    connection.discard();
                    return Err(Failure::unavailable("the database did not answer about the key in time"));
                };
                match looked? {
                    Looked::Run(claim) => Some(claim),
                    Looked::Committed(result) => {
                        drop(connection);
                        return Ok(self.answered(read(result), limit.deadline()).await);
                    }
                    Looked::Settled(fence) => return Ok(RunOutcome::KeySettled(fence)),
                    Looked::Reused => return Ok(RunOutcome::KeyReused),
                    Looked::Unprotected => return Ok(RunOutcome::Unprotected),
                }
            }
        };
        let claim = claim.as_ref();
        // The position also tells whether a server that was a replica is one still.
        let ask = if connection.role() == Role::Primary { ask } else { Ask::Position };
        let is_question =
            ask == Ask::Position && connection.positions() == PositionKind::Transaction && asks_for_position(request);
        let work = self.carry_or_attempt(&connection, local, request, ask, claim);
        let limited = limit.run_with_blocks(&connection, work).await;
        let (ended, in_doubt) = match limited {
            Limited::Ended(ended) => (ended, request.statements.iter().any(|statement| statement.simple)),
            Limited::Cancelled(ended) => (ended.map(RunOutcome::after_cancellation), true),
            Limited::Abandoned => {
                self.pool.known().suspect();
                (Err(Failure::Unknown("the database did not react to the cancellation of the statement".into())), true)
            }
        };
        if in_doubt {
            // A late cancellation would hit the next caller, and a script may leave any state behind.
            connection.discard();
        } else {
            // Whoever holds a connection must not wait for another one.
            drop(connection);
        }
        let ended = match ended? {
            RunOutcome::Rejected { error, .. } if error.code() == &SqlState::READ_ONLY_SQL_TRANSACTION => {
                self.read_only(error, limit.deadline()).await?
            }
            RunOutcome::Committed { position: Probed::InRecovery, .. } => {
                return Err(Failure::not_primary(self.pool.address()));
            }
            // A server that tells positions by transaction has none for a read, but the question for one needs it.
            RunOutcome::Committed { results, position, written, not_replicated }
                if matches!(position, Probed::Lost) || is_question =>
            {
                let position = self.probe(limit.deadline()).await;
                RunOutcome::Committed { results, position, written, not_replicated }
            }
            ended => ended,
        };
        if claim.is_some() {
            self.prune_claims();
        }
        Ok(ended)
    }

    /// Runs a statement together with the claim of its key, if it can carry it, and otherwise the request in a block.
    async fn carry_or_attempt(
        &self,
        connection: &Connection,
        local: &LocalSettings,
        request: &proto::ExecuteRequest,
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<RunOutcome, Failure> {
        let carried = match self.carry(connection, local, &request.statements, ask, claim).await? {
            Carried::Ran(ended) => return Ok(ended),
            carried => carried,
        };
        let ended = self.attempt_twice(connection, local, request, ask, claim).await?;
        if matches!((carried, &ended), (Carried::NotAllowed, RunOutcome::Committed { .. })) {
            self.claims.note_functions_only();
        }
        Ok(ended)
    }

    /// Runs the request, and once more in two cases in which PostgreSQL has run nothing: the statements that this connection
    /// has prepared may be stale, or a function, such as those of some extensions, refuses to run in a transaction block
    /// that only this node wanted.
    async fn attempt_twice(
        &self,
        connection: &Connection,
        local: &LocalSettings,
        request: &proto::ExecuteRequest,
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<RunOutcome, Failure> {
        let own_block = OwnBlock::of(&request.statements, ask, claim);
        let first = self.attempt(connection, local, &request.statements, own_block, ask, claim).await;
        let is_block_ours = own_block == OwnBlock::Begin && local.is_empty();
        let (own_block, claim) = match &first {
            Ok(Attempt::Ran(RunOutcome::Rejected { error, .. })) if error.may_be_stale() => (own_block, claim),
            Err(Failure::NotExecuted(Reason::StaleStatement, _)) => (own_block, claim),
            Ok(Attempt::Ran(RunOutcome::Rejected { error, .. }))
                if is_block_ours && error.code() == &SqlState::ACTIVE_SQL_TRANSACTION =>
            {
                if claim.is_some_and(|claim| claim.once.again) {
                    return Ok(RunOutcome::Unprotected);
                }
                (OwnBlock::Without, None)
            }
            _ => return first.map(Attempt::into_outcome),
        };
        for statement in &request.statements {
            connection.forget(&tagged(local.schema.as_ref(), &statement.sql));
        }
        self.attempt(connection, local, &request.statements, own_block, ask, claim).await.map(Attempt::into_outcome)
    }

    async fn attempt(
        &self,
        connection: &Connection,
        local: &LocalSettings,
        statements: &[proto::Statement],
        own_block: OwnBlock,
        ask: Ask,
        claim: Option<&Claim>,
    ) -> Result<Attempt, Failure> {
        let mut within = match Within::enter(connection, local, statements, own_block, ask, claim).await? {
            Ok(within) => within,
            Err(error) => return self.not_prepared(None, &error),
        };
        match within.hearing(Prepared::all(connection, local.schema.as_ref(), statements)).await? {
            Ok(prepared) => RequestRun::new(connection, self.max_rows_bytes)
                .run(&prepared, within, ask, claim)
                .await
                .map(Attempt::Ran),
            Err((statement, error)) => self.not_prepared(Some(statement), &within.cause(error).await),
        }
    }

    fn not_prepared(&self, statement: Option<u32>, error: &tokio_postgres::Error) -> Result<Attempt, Failure> {
        Ok(Attempt::NotPrepared(RunOutcome::Rejected { statement, error: Box::new(self.database_error(error)?) }))
    }

    fn database_error(&self, error: &tokio_postgres::Error) -> Result<DatabaseError, Failure> {
        match error.as_db_error() {
            Some(error) => Ok(error.into()),
            None => Err(Failure::unavailable(format!(
                "the connection to the database at {} was lost before anything was executed",
                self.pool.address()
            ))),
        }
    }

    /// Tells a replica from a role whose transactions are read-only by default: PostgreSQL reports both with the same
    /// error, but only the replica's caller should try another server.
    pub(super) async fn read_only(&self, error: Box<DatabaseError>, deadline: Instant) -> Result<RunOutcome, Failure> {
        let server = self.pool.ask(deadline).await.map_err(|error| Failure::unavailable(error.to_string()))?;
        match server.role {
            Role::Replica => Err(Failure::not_primary(self.pool.address())),
            Role::Primary => Ok(RunOutcome::Rejected { statement: None, error }),
        }
    }
}

/// Reads the results that were kept with a key, if they were.
fn read(kept: Option<Vec<u8>>) -> Option<proto::StatementResults> {
    kept.and_then(|kept| carried::kept(&kept))
}

/// How long settling a key may take after an interrupted commit, or after the deadline of the request. It takes a connection and
/// a round trip. If the database does not answer, another node or a promoted primary may.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns how an attempt of a request with a key ended.
fn ended(outcome: &Result<RunOutcome, Failure>) -> Ended {
    match outcome {
        Ok(
            RunOutcome::Committed { .. } | RunOutcome::KeySettled(_) | RunOutcome::KeyReused | RunOutcome::Unprotected,
        ) => Ended::Known,
        Ok(RunOutcome::Taken) => Ended::Taken,
        Ok(RunOutcome::Interrupted { is_kept, .. }) => Ended::Interrupted { is_kept: *is_kept },
        Ok(
            RunOutcome::Rejected { .. }
            | RunOutcome::DeadlineExceeded { .. }
            | RunOutcome::Unmet { .. }
            | RunOutcome::LeftOpen,
        )
        | Err(Failure::NotExecuted(Reason::HistoryLost | Reason::StaleStatement, _)) => Ended::Failed,
        Err(_) => Ended::Again,
    }
}

/// How an attempt to run a request ended.
enum Attempt {
    /// A statement could not be prepared.
    NotPrepared(RunOutcome),

    Ran(RunOutcome),
}

impl Attempt {
    fn into_outcome(self) -> RunOutcome {
        match self {
            Self::NotPrepared(outcome) | Self::Ran(outcome) => outcome,
        }
    }
}
