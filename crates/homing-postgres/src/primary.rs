//! Where writes go: the primary, here or in another region.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use homing_proto::v1 as proto;
use homing_proto::v1::database_client::DatabaseClient;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, PeerName, Reason, Retry, Rpc};
use proto::execute_response::Outcome;
use proto::rejection::Cause;
use tokio::time::Instant;
use tonic::{Code, Response, Status, Streaming};
use tracing::{Instrument, debug_span};

pub(crate) use self::stream::{Opening, ReceiveError, TransactionStream};
use crate::call::report::AnsweredBy;
use crate::database::Database;
use crate::error::database::DatabaseError;
use crate::error::{Error, Result};
use crate::executor::Failure;
use crate::position::Position;
use crate::replicas::{Member, Replicas};
use crate::scope::{Schema, Scope};
use crate::statement::description::StatementDescription;

/// The way to the primary.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    rpc: Rpc,
    replicas: Replicas,
    scope: Scope,
}

/// What became of statements on the primary.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) results: Vec<proto::StatementResult>,
    pub(crate) rows_dropped: bool,
    pub(crate) position: Option<Position>,
    /// PostgreSQL says that nothing was written.
    pub(crate) unchanged: bool,
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

    /// As `Writes`, and PostgreSQL is asked whether it wrote anything.
    Perhaps,
}

impl Primary {
    pub(crate) fn new(rpc: Rpc, replicas: Replicas) -> Self {
        Self { rpc, replicas, scope: Scope::default() }
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

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// The database that reads go to where nothing else is said.
    pub(crate) fn database(&self) -> Option<Database> {
        self.replicas.nearest().map(|member| member.database().clone())
    }

    /// The database here, if it is the primary.
    pub(crate) fn local_primary(&self) -> Option<Database> {
        self.replicas.local_primary().map(|member| member.database().clone())
    }

    /// Runs the statements in one transaction on the primary.
    pub(crate) async fn execute(
        &self,
        statements: Vec<proto::Statement>,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Executed> {
        // On the heap: the compiler looks into a future only so deep, and applications nest further.
        let executed = Box::pin(self.execute_anywhere(statements, effect, deadline)).await?;
        if let Some(position) = executed.position {
            self.replicas.heard(position);
        }
        Ok(executed)
    }

    async fn execute_anywhere(
        &self,
        statements: Vec<proto::Statement>,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Executed> {
        let ask_unchanged = effect == Effect::Perhaps;
        let request = proto::ExecuteRequest { database: self.scope.to_wire(), statements, ask_unchanged };
        if let Some(database) = self.local_primary() {
            match self.execute_locally(&database, request.clone(), deadline).await {
                Err(error) if error.is_not_primary() => {}
                outcome => return outcome,
            }
        }
        match self.forward(request.clone(), effect, deadline).instrument(debug_span!("forward")).await {
            // Nobody at home: perhaps because home is here by now.
            Err(error) if error.is_not_sent() && !error.is_misuse() => match self.promoted(deadline).await {
                Some(member) => self.execute_locally(member.database(), request, deadline).await,
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    /// Begins to read from the primary in another region. A peer that fails before the first part is followed by another.
    pub(crate) async fn query(
        &self,
        statement: proto::Statement,
        deadline: Instant,
    ) -> Result<Dispatched<(proto::QueryPart, Streaming<proto::QueryPart>)>> {
        let request = proto::QueryRequest { database: self.scope.to_wire(), statement: Some(statement) };
        self.rpc.check_size(&request)?;
        let call = |mut client: DatabaseClient<PeerChannel>, request| async move {
            let mut parts = client.query(request).await.map_err(knows_no_query)?.into_inner();
            let first = parts.message().await?.ok_or_else(|| Status::unknown("a stream without parts"))?;
            Ok(Response::new((first, parts)))
        };
        self.dispatch("stream", Effect::Reads, deadline, call, request).await.map_err(|error| {
            if !error.is_outcome_unknown() {
                return error;
            }
            let region = self.rpc.topology().primary_region();
            Error::not_sent(format!(
                "no rows came from region {region}, and nothing was changed: begin the stream again"
            ))
            .with_source(error)
        })
    }

    /// The types of a statement, as the primary prepares it.
    pub(crate) async fn prepare(&self, sql: &str, deadline: Instant) -> Result<StatementDescription> {
        use proto::prepare_response::Outcome;
        let (response, place) = match self.local_primary() {
            Some(database) => {
                let response = database.executor().prepare(sql.to_owned(), self.schema().cloned(), deadline).await;
                let place = self.local_place(&database);
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
                (dispatched.response, peer_place(&dispatched.peer))
            }
        };
        match response.outcome {
            Some(Outcome::Statement(statement)) => {
                StatementDescription::from_proto(statement).ok_or_else(|| unreadable(&place))
            }
            Some(Outcome::Rejected(error)) => Err(Error::rejected_by(error.into(), place)),
            None => Err(unreadable(&place)),
        }
    }

    async fn execute_locally(
        &self,
        database: &Database,
        request: proto::ExecuteRequest,
        deadline: Instant,
    ) -> Result<Executed> {
        let place = self.local_place(database);
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
        let extended = request.statements.iter().any(is_extended);
        let dispatched = self
            .dispatch(
                "execute",
                effect,
                deadline,
                |mut client, request| async move {
                    client.execute(request).await.map_err(|status| if extended { too_old(status) } else { status })
                },
                request,
            )
            .await?;
        let Dispatched { response, peer, attempts, route, forward, .. } = dispatched;
        let execute = Duration::from_micros(response.execute_micros).min(forward);
        let place = peer_place(&peer);
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
            Effect::Writes | Effect::Perhaps => Retry::NotProcessed,
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
    pub(crate) async fn promoted(&self, deadline: Instant) -> Option<Arc<Member>> {
        self.replicas.promoted(deadline).await
    }

    fn local_place(&self, database: &Database) -> String {
        format!("the primary here, at {},", database.pool().address())
    }
}

impl Executed {
    fn of(response: proto::ExecuteResponse, trip: Trip, place: &str) -> Result<Self> {
        match response.outcome {
            Some(Outcome::Results(results)) => {
                let position = response.position.as_ref().and_then(|position| Position::try_from(position).ok());
                let proto::StatementResults { results, rows_dropped } = results;
                Ok(Self { results, rows_dropped, position, unchanged: response.unchanged, trip })
            }
            Some(Outcome::Rejection(rejection)) => Err(rejected(rejection, place)),
            None => Err(Error::outcome_unknown(format!("{place} gave an answer that this build cannot read"))),
        }
    }
}

/// Whether a build that knows no batches would refuse it.
fn is_extended(statement: &proto::Statement) -> bool {
    !statement.references.is_empty() || statement.expected_rows.is_some()
}

/// A build that knows no streams has no such method. Another peer may be newer.
fn knows_no_query(status: Status) -> Status {
    if status.code() == Code::Unimplemented && Reason::of(&status).is_none() {
        return Reason::ProtocolVersion.status("its build knows no streams, update it");
    }
    status
}

/// A build that knows no batches says of such a statement that it has a value too many. Another peer may be newer.
fn too_old(status: Status) -> Status {
    match Reason::of(&status) {
        Some(Reason::BadArguments) => {
            Reason::ProtocolVersion.status(format!("its build knows no batches, update it: {}", status.message()))
        }
        _ => status,
    }
}

pub(crate) fn rejected(rejection: proto::Rejection, place: &str) -> Error {
    let statement = rejection.statement;
    refused(rejection, place).at_statement(statement)
}

fn refused(rejection: proto::Rejection, place: &str) -> Error {
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
        Some(Cause::DeadlineExceeded(_)) => Error::timed_out(format!(
            "{place} did not finish the statement in time and cancelled it, nothing is written: look at what it waits \
             for, or raise call_timeout"
        )),
        Some(Cause::OpenTransaction(_)) => Error::rejected(format!(
            "{place} rolled back the transaction that the script began and did not end: end it with COMMIT"
        )),
        Some(Cause::UnexpectedRows(rows)) => unexpected(rows, place),
        Some(Cause::NoReferencedRow(_)) => Error::not_found(format!(
            "{place} rolled it back, nothing is written: the row whose column it takes does not exist"
        )),
        Some(Cause::RowTooLarge(row)) => Error::misuse(format!(
            "{place} has a row of {} bytes, and a message may have {}: return less, or read it in a named function",
            row.bytes, row.max_bytes
        )),
        None => Error::rejected(format!("{place} rejected it without saying why")),
    }
}

fn unexpected(rows: proto::UnexpectedRows, place: &str) -> Error {
    let proto::UnexpectedRows { expected, found } = rows;
    let message = format!("{place} rolled it back, nothing is written: rows expected {expected}, found {found}");
    match found {
        0 => Error::not_found(message),
        found if found > expected => Error::too_many_rows(message),
        _ => Error::rejected(message),
    }
}

pub(crate) fn failed(failure: Failure, place: &str) -> Error {
    match failure {
        Failure::NotExecuted(Reason::NotPrimary, message) => Error::not_primary(message),
        Failure::NotExecuted(Reason::StaleStatement, message) => Error::stale(message),
        Failure::NotExecuted(Reason::BadArguments, message) => Error::misuse(message),
        Failure::NotExecuted(Reason::Overloaded, message) => Error::overloaded(message),
        Failure::NotExecuted(_, message) => Error::not_sent(format!("{place} executed nothing: {message}")),
        Failure::Unknown(message) => Error::outcome_unknown(format!("{place} may have committed it: {message}")),
    }
}

fn unreadable(place: &str) -> Error {
    Error::not_sent(format!("{place} described the statement in a way that this build cannot read: update this node"))
}

/// Who did it, for messages.
pub(crate) fn peer_place(peer: &PeerName) -> String {
    format!("the primary, through {peer},")
}
