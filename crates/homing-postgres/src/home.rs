//! Where writes go: the primary, here or in another region.

use std::time::Duration;

use homing_proto::v1 as proto;
use homing_proto::v1::database_client::DatabaseClient;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, PeerName, Reason, Retry, Rpc};
use proto::execute_response::Outcome;
use proto::rejection::Cause;
use tokio::time::Instant;
use tonic::{Response, Status};
use tracing::{Instrument, debug_span};

use crate::executor::Failure;
use crate::report::AnsweredBy;
use crate::scope::{Schema, Scope};
use crate::shape::Shape;
use crate::{Database, DatabaseError, Error, Position, Result, Role};

/// The way to the primary.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    rpc: Rpc,
    database: Option<Database>,
    scope: Scope,
}

/// What became of statements on the primary.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) results: Vec<proto::StatementResult>,
    pub(crate) rows_dropped: bool,
    pub(crate) position: Option<Position>,
    pub(crate) trip: Trip,
}

/// The way there and back.
#[derive(Debug)]
pub(crate) struct Trip {
    pub(crate) answered_by: AnsweredBy,
    pub(crate) attempts: u32,
    pub(crate) route: Duration,
    pub(crate) forward: Duration,
    pub(crate) execute: Duration,
}

/// What may happen to a request whose answer was lost.
///
/// Closed: a request either can be repeated or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing: send it again.
    Reads,

    /// It may have been committed: leave that to the caller.
    Writes,
}

impl Home {
    pub(crate) fn new(rpc: Rpc, database: Option<Database>) -> Self {
        Self { rpc, database, scope: Scope::default() }
    }

    /// The way to another database or schema of the same primary region.
    pub(crate) fn in_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Which database and schema this is the way to.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The schema in which statements have to run, here as at home.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.scope.schema.as_ref()
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    pub(crate) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// The database here, if it is the primary.
    pub(crate) fn here(&self) -> Option<&Database> {
        self.database.as_ref().filter(|database| database.role() == Some(Role::Primary))
    }

    /// Runs the statements in one transaction on the primary.
    pub(crate) async fn execute(
        &self,
        statements: Vec<proto::Statement>,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Executed> {
        let request = proto::ExecuteRequest { database: self.scope.to_wire(), statements };
        if let Some(database) = self.here() {
            match self.execute_here(database, request.clone(), deadline).await {
                Err(error) if error.is_not_primary() => {}
                outcome => return outcome,
            }
        }
        match self.forward(request.clone(), effect, deadline).instrument(debug_span!("forward")).await {
            // Nobody at home: perhaps because home is here by now.
            Err(error) if error.is_not_sent() && !error.is_misuse() => match self.promoted(deadline).await {
                Some(database) => self.execute_here(database, request, deadline).await,
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    /// The types of a statement, as the primary prepares it.
    pub(crate) async fn prepare(&self, sql: &str, deadline: Instant) -> Result<Shape> {
        use proto::prepare_response::Outcome;
        let (response, place) = match self.here() {
            Some(database) => {
                let response = database.executor().prepare(sql.to_owned(), self.schema().cloned(), deadline).await;
                let place = self.place_here(database);
                (response.map_err(|failure| failed(failure, &place))?, place)
            }
            None => {
                let request = proto::PrepareRequest { database: self.scope.to_wire(), sql: sql.to_owned() };
                let dispatched = self
                    .dispatch(
                        "prepare",
                        Effect::Reads,
                        deadline,
                        |mut client, request| async move { client.prepare(request).await },
                        request,
                    )
                    .await?;
                (dispatched.response, place_there(&dispatched.peer))
            }
        };
        match response.outcome {
            Some(Outcome::Statement(statement)) => Shape::from_proto(statement).ok_or_else(|| unreadable(&place)),
            Some(Outcome::Rejected(error)) => Err(Error::rejected_by(error.into(), place)),
            None => Err(unreadable(&place)),
        }
    }

    async fn execute_here(
        &self,
        database: &Database,
        request: proto::ExecuteRequest,
        deadline: Instant,
    ) -> Result<Executed> {
        let place = self.place_here(database);
        let response = database.executor().execute(request, self.schema().cloned(), deadline).await;
        let response = response.map_err(|failure| failed(failure, &place))?;
        let trip = Trip {
            answered_by: AnsweredBy::Here,
            attempts: 0,
            route: Duration::ZERO,
            forward: Duration::ZERO,
            execute: Duration::from_micros(response.execute_micros),
        };
        Executed::of(response, trip, &place)
    }

    async fn forward(&self, request: proto::ExecuteRequest, effect: Effect, deadline: Instant) -> Result<Executed> {
        self.rpc.check_size(&request)?;
        let dispatched = self
            .dispatch(
                "execute",
                effect,
                deadline,
                |mut client, request| async move { client.execute(request).await },
                request,
            )
            .await?;
        let Dispatched { response, peer, attempts, route, forward, .. } = dispatched;
        let execute = Duration::from_micros(response.execute_micros).min(forward);
        let place = place_there(&peer);
        let forward = forward - execute;
        let trip = Trip { answered_by: AnsweredBy::Peer(peer), attempts, route, forward, execute };
        Executed::of(response, trip, &place)
    }

    async fn dispatch<Q, R, F>(
        &self,
        operation: &'static str,
        effect: Effect,
        deadline: Instant,
        call: impl Fn(DatabaseClient<PeerChannel>, Q) -> F,
        request: Q,
    ) -> Result<Dispatched<R>>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let retry = match effect {
            Effect::Reads => Retry::Always,
            Effect::Writes => Retry::NotProcessed,
        };
        let region = self.rpc.topology().primary_region();
        let send = |channel: PeerChannel| {
            let client = DatabaseClient::new(channel)
                .max_decoding_message_size(self.rpc.max_message_bytes())
                .max_encoding_message_size(self.rpc.max_message_bytes());
            call(client, request.clone())
        };
        Ok(self.rpc.dispatch(region, Dispatch::new(deadline).with_retry(retry).with_operation(operation), send).await?)
    }

    /// The database here, if it was promoted since it was last asked.
    async fn promoted(&self, deadline: Instant) -> Option<&Database> {
        let database = self.database.as_ref()?;
        let server = database.pool().ask(deadline).await.ok()?;
        (server.role == Role::Primary).then_some(database)
    }

    fn place_here(&self, database: &Database) -> String {
        format!("the primary here, at {},", database.pool().address())
    }
}

impl Executed {
    fn of(response: proto::ExecuteResponse, trip: Trip, place: &str) -> Result<Self> {
        match response.outcome {
            Some(Outcome::Results(results)) => {
                let position = response.position.as_ref().and_then(|position| Position::try_from(position).ok());
                Ok(Self { results: results.results, rows_dropped: results.rows_dropped, position, trip })
            }
            Some(Outcome::Rejection(rejection)) => Err(rejected(rejection, place)),
            None => Err(Error::outcome_unknown(format!("{place} gave an answer that this build cannot read"))),
        }
    }
}

fn rejected(rejection: proto::Rejection, place: &str) -> Error {
    match rejection.cause {
        Some(Cause::DatabaseError(error)) => {
            let error = DatabaseError::from(error);
            match rejection.statement {
                Some(index) if index > 0 => {
                    Error::rejected_by(error, format_args!("{place} in statement {}", index + 1))
                }
                _ => Error::rejected_by(error, place),
            }
        }
        Some(Cause::DeadlineExceeded(_)) => Error::rejected(format!(
            "{place} did not finish the statement in time and cancelled it, nothing is written: look at what it waits \
             for, or raise call_timeout"
        )),
        Some(Cause::OpenTransaction(_)) => Error::rejected(format!(
            "{place} rolled back the transaction that the script began and did not end: end it with COMMIT"
        )),
        None => Error::rejected(format!("{place} rejected it without saying why")),
    }
}

fn failed(failure: Failure, place: &str) -> Error {
    match failure {
        Failure::NotExecuted(Reason::NotPrimary, message) => Error::not_primary(message),
        Failure::NotExecuted(Reason::StaleStatement, message) => Error::stale(message),
        Failure::NotExecuted(Reason::BadArguments, message) => Error::misuse(message),
        Failure::NotExecuted(_, message) => Error::not_sent(format!("{place} executed nothing: {message}")),
        Failure::Unknown(message) => Error::outcome_unknown(format!("{place} may have committed it: {message}")),
    }
}

fn unreadable(place: &str) -> Error {
    Error::not_sent(format!("{place} described the statement in a way that this build cannot read: update this node"))
}

/// Who did it, for messages.
fn place_there(peer: &PeerName) -> String {
    format!("the primary, through {peer},")
}
