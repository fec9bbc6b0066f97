use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use homing_proto::v1 as proto;
use homing_rpc::{Caller, Reason};
use tonic::{Request, Response, Status, Streaming};

use crate::Database;
use crate::executor::Site;

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

    type TransactStream = Pin<Box<dyn Stream<Item = Result<proto::TransactResponse, Status>> + Send>>;

    async fn transact(
        &self,
        request: Request<Streaming<proto::TransactRequest>>,
    ) -> Result<Response<Self::TransactStream>, Status> {
        let deadline = Caller::of(&request)?.deadline;
        let executor = self.database.executor();
        let mut responses = executor.transact(request.into_inner(), deadline, Site::Primary).await?;
        let responses = stream::poll_fn(move |context| responses.poll_recv(context)).map(Ok);
        Ok(Response::new(Box::pin(responses)))
    }
}

fn check_database(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Reason::UnknownDatabase.status(format!("this node has no database named {name:?}")))
}
