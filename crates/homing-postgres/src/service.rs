use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use homing_proto::v1 as proto;
use homing_rpc::{Caller, Reason};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::Database;
use crate::executor::{Pace, Parts, Sees};

/// The executor as a gRPC service.
#[derive(Debug)]
pub(crate) struct Service {
    database: Database,
}

impl Service {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[tonic::async_trait]
impl proto::database_server::Database for Service {
    async fn execute(
        &self,
        request: Request<proto::ExecuteRequest>,
    ) -> Result<Response<proto::ExecuteResponse>, Status> {
        let deadline = Caller::of(&request)?.deadline;
        let request = request.into_inner();
        check_database(&request.database)?;
        Ok(Response::new(self.database.executor().execute(request, deadline).await?))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let deadline = Caller::of(&request)?.deadline;
        let request = request.into_inner();
        check_database(&request.database)?;
        Ok(Response::new(self.database.executor().prepare(request.sql, deadline).await?))
    }

    type QueryStream = BoxStream<'static, Result<proto::QueryPart, Status>>;

    /// Answers when the first part is there: until then the caller's deadline holds, and a refusal has a reason.
    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let first = Caller::of(&request)?.deadline;
        let request = request.into_inner();
        check_database(&request.database)?;
        let statement = request.statement.ok_or_else(|| Reason::BadArguments.status("a request without statement"))?;
        let pace = Pace { first, next: first.saturating_duration_since(Instant::now()) };
        let executor = self.database.executor();
        let mut parts = Parts::new(executor.query(statement, pace, Sees::Primary), executor.max_rows_bytes());
        let first = parts.next().await?;
        let rest = stream::try_unfold(parts, |mut parts| async move {
            Ok::<_, Status>(parts.next().await?.map(|part| (part, parts)))
        });
        Ok(Response::new(stream::iter(first).map(Ok).chain(rest.into_stream()).boxed()))
    }
}

fn check_database(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Reason::UnknownDatabase.status(format!("this node has no database named {name:?}")))
}
