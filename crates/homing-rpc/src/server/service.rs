//! The gRPC service `homing.v1.Rpc`.

use homing_proto::v1::rpc_server::{Rpc, RpcServer};
use homing_proto::v1::{CallOnceRequest, CallRequest, CallResponse, DescribeRequest, DescribeResponse};
use tonic::{Request, Response, Status, async_trait};

use crate::error::reason::Reason;
use crate::metadata::caller::Caller;
use crate::metadata::key::CallKey;
use crate::node::LocalNode;

/// Answers for this node.
#[derive(Debug)]
pub(crate) struct RpcService {
    node: LocalNode,
}

impl RpcService {
    pub(crate) fn new(node: LocalNode) -> Self {
        Self { node }
    }

    /// Returns the gRPC server, without a limit of its own for messages: the gate limits them.
    pub(crate) fn into_server(self) -> RpcServer<Self> {
        RpcServer::new(self).max_decoding_message_size(usize::MAX)
    }
}

#[async_trait]
impl Rpc for RpcService {
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let caller = Caller::of(&request)?;
        self.node.call(request.into_inner(), None, caller).await.map(Response::new)
    }

    async fn call_once(&self, request: Request<CallOnceRequest>) -> Result<Response<CallResponse>, Status> {
        let caller = Caller::of(&request)?;
        let CallOnceRequest { call, once } = request.into_inner();
        let (Some(call), Some(once)) = (call, once) else {
            return Err(Reason::BadArguments.status("the request has no call or no key"));
        };
        self.node.call(call, Some(CallKey::from_proto(once)), caller).await.map(Response::new)
    }

    async fn describe(&self, _request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(self.node.describe()))
    }
}
