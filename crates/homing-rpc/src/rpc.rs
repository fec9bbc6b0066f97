//! The client: calls to any region.

pub(crate) mod call;
pub(crate) mod dispatch;
pub(crate) mod retry;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homing_proto::v1::rpc_client::RpcClient;
use homing_proto::v1::{DescribeRequest, DescribeResponse};
use prost::Message;
use tokio::time::Instant;
use tonic::{Response, Status};
use tracing::Instrument;

use crate::discover::Discover;
use crate::error::{Error, Result};
use crate::metadata::identity::Identity;
use crate::node::LocalNode;
use crate::node::config::NodeConfig;
use crate::peer::channel::PeerChannel;
use crate::peer::set::PeerSet;
use crate::region::Region;
use crate::rpc::dispatch::{Attempts, Dispatch, Dispatched};
use crate::rpc::retry::Retry;
use crate::secret::Secret;
use crate::topology::Topology;

/// Calls functions in any region. Cheap to clone.
///
/// Nothing is connected before a region's first use. What was started for it ends when the last clone is dropped.
#[derive(Clone)]
pub struct Rpc(Arc<RpcInner>);

impl Rpc {
    /// Returns a client of the node. `discover` finds the addresses of the peers; [`StaticPeers::none`] is for a node that
    /// is alone.
    ///
    /// [`StaticPeers::none`]: crate::StaticPeers::none
    pub fn new(config: NodeConfig, discover: Arc<dyn Discover>) -> Self {
        let identity = Arc::new(Identity::new(config.topology.region(), config.secret.as_ref()));
        Self(Arc::new(RpcInner { discover, identity, node: LocalNode::new(config), peers: Mutex::default() }))
    }

    /// Where this node runs.
    pub fn topology(&self) -> &Topology {
        &self.0.node.config.topology
    }

    /// The credential sent to peers.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.node.config.secret.as_ref()
    }

    /// How many bytes a message may have.
    pub fn max_message_bytes(&self) -> usize {
        self.0.node.config.max_message_bytes
    }

    /// Whether a message may be sent: to be asked before [`dispatch`](Self::dispatch), so that one over the limit is
    /// provably not sent.
    ///
    /// # Errors
    ///
    /// Not sent, and too large ([`Error::is_too_large`]).
    pub fn check_size(&self, message: &impl Message) -> Result<()> {
        self.0.node.config.check_size(message)
    }

    /// Asks a node of a region who it is.
    ///
    /// # Errors
    ///
    /// As [`dispatch`](Self::dispatch).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn describe(&self, region: &Region, timeout: Duration) -> Result<DescribeResponse> {
        if region == self.topology().region() {
            return Ok(self.0.node.describe());
        }
        let dispatch = Dispatch::new(Instant::now() + timeout).with_retry(Retry::Always).with_operation("describe");
        let send = |channel| async { RpcClient::new(channel).describe(DescribeRequest {}).await };
        Ok(self.dispatch(region, dispatch, send).await?.response)
    }

    /// Sends a request to one of the peers of a region; to another one while it was provably not executed, or always,
    /// as the dispatch says. Peers are chosen by their load; each is asked once while there are others.
    ///
    /// `send` is called with the channel for each attempt. It is to pass the channel to a generated client and to send
    /// one request.
    ///
    /// ```no_run
    /// # use homing_rpc::*;
    /// use homing_proto::v1::{DescribeRequest, rpc_client::RpcClient};
    /// use tokio::time::{Duration, Instant};
    ///
    /// # async fn example(rpc: Rpc, region: Region) -> Result<()> {
    /// let dispatch = Dispatch::new(Instant::now() + Duration::from_secs(5)).with_retry(Retry::Always);
    /// let answer = rpc
    ///     .dispatch(&region, dispatch, |channel| async { RpcClient::new(channel).describe(DescribeRequest {}).await })
    ///     .await?;
    /// println!("{} answered after {:?}", answer.peer, answer.forward);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - not sent: no peer is known, none is up, or all that are turned it down (see [`Error::reason`]);
    /// - outcome unknown: it was sent, and the answer was lost or did not arrive before the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping it tells the peer that the caller has gone away; what was executed by then stays executed.
    pub async fn dispatch<T, F, Fut>(&self, region: &Region, dispatch: Dispatch, send: F) -> Result<Dispatched<T>>
    where
        F: Fn(PeerChannel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let peers = self.peers(region)?;
        let trace = dispatch.trace();
        let span = tracing::info_span!(
            "homing.call",
            %region,
            function = %dispatch.operation,
            trace_id = %trace.trace_id(),
            peer = tracing::field::Empty,
            attempt = tracing::field::Empty,
        );
        Attempts::new(&peers, &dispatch, trace).run(send).instrument(span).await
    }

    pub(crate) fn node(&self) -> &LocalNode {
        &self.0.node
    }

    pub(crate) fn discover(&self) -> &dyn Discover {
        &*self.0.discover
    }

    /// The peers of a region, watched from its first use on.
    fn peers(&self, region: &Region) -> Result<PeerSet> {
        let mut sets = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peers) = sets.get(region) {
            return Ok(peers.clone());
        }
        if sets.len() >= MAX_REGIONS {
            return Err(Error::not_sent(format!(
                "region {region} would be one more than the {MAX_REGIONS} regions that a node talks to; use fewer names"
            )));
        }
        let primary_region = self.topology().primary_region().clone();
        let (discover, identity) = (Arc::clone(&self.0.discover), Arc::clone(&self.0.identity));
        let peers = PeerSet::spawn(region.clone(), primary_region, discover, identity);
        sets.insert(region.clone(), peers.clone());
        Ok(peers)
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RpcInner { node, discover, .. } = &*self.0;
        formatter.debug_struct("Rpc").field("topology", &node.config.topology).field("discover", discover).finish()
    }
}

struct RpcInner {
    discover: Arc<dyn Discover>,
    identity: Arc<Identity>,
    node: LocalNode,
    peers: Mutex<HashMap<Region, PeerSet>>,
}

/// Each has a task that looks its addresses up; more names than that come from input that nobody checked.
const MAX_REGIONS: usize = 256;
