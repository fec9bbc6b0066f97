use homing_proto::v1 as proto;
use homing_rpc::{Caller, Reason};
use tonic::{Request, Response, Status};

use crate::scope::Scope;
use crate::{Database, Databases};

/// The executors of a node's databases as a gRPC service.
#[derive(Debug)]
pub(crate) struct Service {
    databases: Databases,
}

impl Service {
    pub(crate) fn new(databases: Databases) -> Self {
        Self { databases }
    }

    /// The database that a request names, and the whole of what it names.
    fn database(&self, scope: &str) -> Result<(&Database, Scope), Status> {
        let unknown = || Reason::UnknownDatabase.status(format!("this node has no database named {scope:?}"));
        let scope = Scope::from_wire(scope).map_err(|_| unknown())?;
        let database = self.databases.database(&scope.database).ok_or_else(unknown)?;
        Ok((database, scope))
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
        let (database, scope) = self.database(&request.database)?;
        Ok(Response::new(database.executor().execute(request, scope.schema, deadline).await?))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let deadline = Caller::of(&request)?.deadline;
        let request = request.into_inner();
        let (database, scope) = self.database(&request.database)?;
        Ok(Response::new(database.executor().prepare(request.sql, scope.schema, deadline).await?))
    }
}
