//! The gRPC service through which peers use the databases of a node.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use homing_proto::v1 as proto;
use homing_proto::v1::database_server::DatabaseServer;
use homing_rpc::{Caller, Reason};
use tokio::time::{Instant, timeout};
use tokio_postgres::Row;
use tonic::{Request, Response, Status, Streaming};

use super::{Databases, ForwardedSql};
use crate::executor::question::asks_for_position;
use crate::executor::within::can_be_protected;
use crate::executor::{Executor, Pace, QueryParts, Streamed, positions};
use crate::outcome::key::IdempotencyKey;
use crate::outcome::once::Once;
use crate::position::Position;
use crate::scope::{LocalSettings, Scope};
use crate::statement::kind::{Ask, RunsOn};

/// The executors of a node's databases as a gRPC service.
#[derive(Debug)]
struct Service {
    databases: Databases,
}

/// A request for a stream of rows or data.
struct StreamRequest {
    executor: Executor,
    statement: proto::Statement,
    local: LocalSettings,
    session: Vec<Position>,
    pace: Pace,
    ask_snapshot: bool,
}

impl Databases {
    /// Returns the gRPC service through which peers use these databases.
    // Hidden because its type is tonic's: `homing` gives it to the server of a node, and programs have no use for it.
    #[doc(hidden)]
    pub fn service(&self, max_message_bytes: usize) -> DatabaseServer<impl proto::database_server::Database> {
        DatabaseServer::new(Service { databases: self.clone() })
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(max_message_bytes)
    }
}

impl Service {
    /// Returns the executor and the scope for a request. Its server is the primary of the database if it is here, otherwise any
    /// of its servers, which will answer that it is a replica.
    fn executor(&self, scope: &str, caller: &Caller) -> Result<(Executor, Scope), Status> {
        // Without the settings: their values may hold a person's data.
        let shown = scope.split(['?', '/']).next().unwrap_or_default();
        let unknown = || Reason::UnknownDatabase.status(format!("this node has no database named {shown:?}"));
        let scope = Scope::from_wire(scope)
            .map_err(|error| Reason::UnknownDatabase.status(format!("the scope of the call is invalid: {error}")))?;
        let replicas = self.databases.database(&scope.database).ok_or_else(unknown)?;
        let member = replicas
            .serving()
            .ok_or_else(|| Reason::DatabaseUnavailable.status("this node currently has no server of the database"))?;
        Ok((member.database().executor_for(self.databases.forwarded_login.as_ref()).expecting(caller.cluster), scope))
    }

    /// Refuses SQL of a peer, if this node runs named functions only.
    fn check_sql(&self) -> Result<(), Status> {
        match self.databases.forwarded_sql {
            ForwardedSql::Run => Ok(()),
            ForwardedSql::Refuse => Err(Reason::Disabled.status(
                "this node runs no SQL for other nodes, only named functions (HOMING_FUNCTIONS_ONLY): call a named function that \
                 does this work",
            )),
        }
    }

    /// Returns what a request for a stream asks for, and the server that it names.
    fn streamed(&self, request: Request<proto::QueryRequest>) -> Result<StreamRequest, Status> {
        self.check_sql()?;
        let caller = Caller::of(&request)?;
        let first = caller.deadline;
        let request = request.into_inner();
        let (executor, scope) = self.executor(&request.database, &caller)?;
        let (session, ask_snapshot) = (positions(&request.session), request.ask_snapshot);
        let statement = request.statement.ok_or_else(|| Reason::BadArguments.status("the request has no statement"))?;
        let pace = Pace { connect: first, first, next: first.saturating_duration_since(Instant::now()) };
        Ok(StreamRequest { executor, statement, local: scope.local, session, pace, ask_snapshot })
    }
}

#[tonic::async_trait]
impl proto::database_server::Database for Service {
    async fn execute(
        &self,
        request: Request<proto::ExecuteRequest>,
    ) -> Result<Response<proto::ExecuteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        if !asks_for_position(&request) {
            self.check_sql()?;
        }
        let (executor, scope) = self.executor(&request.database, &caller)?;
        executed(&executor, request, None, scope.local, caller.deadline).await
    }

    async fn execute_once(
        &self,
        request: Request<proto::ExecuteOnceRequest>,
    ) -> Result<Response<proto::ExecuteResponse>, Status> {
        self.check_sql()?;
        let caller = Caller::of(&request)?;
        let proto::ExecuteOnceRequest { request, once } = request.into_inner();
        let request = request.ok_or_else(|| Reason::BadArguments.status("the request has no statements"))?;
        let once = once.as_ref().and_then(Once::from_proto).filter(|_| can_be_protected(&request.statements));
        let once = once.ok_or_else(|| {
            Reason::BadArguments.status("the request has no key, or statements that a key cannot protect")
        })?;
        let (executor, scope) = self.executor(&request.database, &caller)?;
        executed(&executor, request, Some(once), scope.local, caller.deadline).await
    }

    async fn settle(&self, request: Request<proto::SettleRequest>) -> Result<Response<proto::SettleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = IdempotencyKey::from_wire(&request.key)
            .ok_or_else(|| Reason::BadArguments.status("the request has no key that this build knows"))?;
        let (executor, _) = self.executor(&request.database, &caller)?;
        Ok(Response::new(executor.outcome(key, &positions(&request.session), caller.deadline).await?))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        self.check_sql()?;
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let (executor, scope) = self.executor(&request.database, &caller)?;
        Ok(Response::new(executor.prepare(request.sql, scope.local, caller.deadline).await?))
    }

    type TransactStream = BoxStream<'static, Result<proto::TransactResponse, Status>>;

    async fn transact(
        &self,
        request: Request<Streaming<proto::TransactRequest>>,
    ) -> Result<Response<Self::TransactStream>, Status> {
        self.check_sql()?;
        let caller = Caller::of(&request)?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST_REQUEST_TIMEOUT, requests.message()).await;
        let Ok(Ok(Some(first))) = first else {
            return Err(Reason::BadArguments.status("the first request of a transaction did not arrive in time"));
        };
        let (executor, _) = self.executor(first.begin.as_ref().map_or("", |begin| &begin.database), &caller)?;
        let asks = first.begin.as_ref().is_some_and(|begin| begin.ask_snapshot);
        let mut snapshot = snapshot(&executor, asks, caller.deadline).await?;
        let mut responses = executor.transact(first, requests, caller.deadline, RunsOn::Primary, Ask::Position).await?;
        let responses = stream::poll_fn(move |context| responses.poll_recv(context));
        let responses =
            responses.map(move |response| Ok(proto::TransactResponse { snapshot: snapshot.take(), ..response }));
        Ok(Response::new(responses.boxed()))
    }

    type CopyInStream = BoxStream<'static, Result<proto::CopyInResponse, Status>>;

    /// Answers when PostgreSQL takes data or has refused the statement. Until then a refusal carries a reason.
    async fn copy_in(
        &self,
        request: Request<Streaming<proto::CopyInRequest>>,
    ) -> Result<Response<Self::CopyInStream>, Status> {
        self.check_sql()?;
        let caller = Caller::of(&request)?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST_REQUEST_TIMEOUT, requests.message()).await;
        let Ok(Ok(Some(first))) = first else {
            return Err(Reason::BadArguments.status("the first request of a copy did not arrive in time"));
        };
        let scope = match &first.part {
            Some(proto::copy_in_request::Part::Begin(begin)) => &*begin.database,
            _ => "",
        };
        let (executor, _) = self.executor(scope, &caller)?;
        let mut responses = executor.copy_in(first, requests, caller.deadline).await?;
        let responses = stream::poll_fn(move |context| responses.poll_recv(context)).map_err(Status::from);
        Ok(Response::new(responses.boxed()))
    }

    type CopyOutStream = BoxStream<'static, Result<proto::QueryPart, Status>>;

    async fn copy_out(&self, request: Request<proto::QueryRequest>) -> Result<Response<Self::CopyOutStream>, Status> {
        self.stream::<Bytes>(request).await
    }

    type QueryStream = BoxStream<'static, Result<proto::QueryPart, Status>>;

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        self.stream::<Row>(request).await
    }
}

impl Service {
    /// Answers with a stream when its first part is there. Until then the caller's deadline holds, and a refusal carries a
    /// reason.
    async fn stream<T: Streamed>(
        &self,
        request: Request<proto::QueryRequest>,
    ) -> Result<Response<BoxStream<'static, Result<proto::QueryPart, Status>>>, Status> {
        let StreamRequest { executor, statement, local, session, pace, ask_snapshot } = self.streamed(request)?;
        let snapshot = snapshot(&executor, ask_snapshot, pace.first).await?;
        let chunks = executor.stream::<T>(statement, local, session, pace, RunsOn::Primary);
        let mut parts = QueryParts::new(chunks, executor.max_rows_bytes());
        let first = parts.next().await?.map(|first| proto::QueryPart { snapshot, ..first });
        let rest =
            stream::try_unfold(parts, async |mut parts| Ok::<_, Status>(parts.next().await?.map(|part| (part, parts))));
        Ok(Response::new(stream::iter(first).map(Ok).chain(rest.into_stream()).boxed()))
    }
}

async fn executed(
    executor: &Executor,
    request: proto::ExecuteRequest,
    once: Option<Once>,
    local: LocalSettings,
    deadline: Instant,
) -> Result<Response<proto::ExecuteResponse>, Status> {
    let snapshot = snapshot(executor, request.ask_snapshot, deadline).await?;
    let response = executor.execute(request, once, local, deadline, Ask::Position).await?;
    Ok(Response::new(proto::ExecuteResponse { snapshot, ..response }))
}

/// Asks which transactions have not ended, if the caller asks for that. A request that begins afterwards sees what all others have
/// committed.
async fn snapshot(executor: &Executor, is_asked: bool, deadline: Instant) -> Result<Option<proto::Snapshot>, Status> {
    match is_asked {
        true => Ok(Some(executor.snapshot(deadline).await?.to_proto())),
        false => Ok(None),
    }
}

/// How long to wait for the first request of a transaction. It comes with the call, so a caller without one is refused.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
