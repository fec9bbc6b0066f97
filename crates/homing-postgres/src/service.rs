use std::sync::Arc;

use homing_proto::v1 as proto;
use homing_rpc::{Caller, Reason};
use tonic::{Request, Response, Status};

use crate::replicas::{Member, Replicas};

/// The executor as a gRPC service.
#[derive(Debug)]
pub(crate) struct Service {
    replicas: Replicas,
}

impl Service {
    pub(crate) fn new(replicas: Replicas) -> Self {
        Self { replicas }
    }

    /// The primary, if it is here; else any database, which will say that it is none.
    fn member(&self) -> Result<Arc<Member>, Status> {
        self.replicas.serving().ok_or_else(|| Reason::UnknownDatabase.status("this node has no database"))
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
        Ok(Response::new(self.member()?.database().executor().execute(request, deadline).await?))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let deadline = Caller::of(&request)?.deadline;
        let request = request.into_inner();
        check_database(&request.database)?;
        Ok(Response::new(self.member()?.database().executor().prepare(request.sql, deadline).await?))
    }
}

fn check_database(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Reason::UnknownDatabase.status(format!("this node has no database named {name:?}")))
}
