//! The client: it calls functions in any region.

pub(crate) mod call;
pub(crate) mod dispatch;
pub(crate) mod failures;
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
use crate::metadata::timeout::deadline_after;
use crate::node::LocalNode;
use crate::node::config::NodeConfig;
use crate::peer::channel::PeerChannel;
use crate::peer::set::PeerSet;
use crate::peer::status::PeerStatus;
use crate::region::Region;
use crate::rpc::dispatch::{Attempts, Dispatch, Dispatched};
use crate::rpc::retry::Retry;
use crate::secret::Secret;
use crate::topology::Topology;

/// Calls functions in any region. Cheap to clone.
///
/// It connects to the peers of a region at the region's first use, or at [`connect`](Rpc::connect), and stays connected.
/// Its tasks and connections end after the last clone was dropped and the calls under way have ended.
#[derive(Clone)]
pub struct Rpc(Arc<RpcInner>);

impl Rpc {
    /// Returns a client of the node. `discover` finds the addresses of the peers; [`StaticPeers::none`] is for a node
    /// that is alone.
    ///
    /// [`StaticPeers::none`]: crate::StaticPeers::none
    pub fn new(config: NodeConfig, discover: Arc<dyn Discover>) -> Self {
        let (secret, tls) = (config.secret.clone(), config.tls.clone());
        let identity = Identity::new(&config.topology, config.node_number(), secret, tls);
        let identity = Arc::new(identity);
        Self(Arc::new(RpcInner { discover, identity, node: LocalNode::new(config), peers: Mutex::default() }))
    }

    /// Returns the regions of this node and of the primary.
    pub fn topology(&self) -> &Topology {
        &self.0.node.config.topology
    }

    /// Returns the credential that this node shares with its peers.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.node.config.secret.as_ref()
    }

    /// Begins to connect to the peers of a region, so that the first call does not have to wait for that. It returns at
    /// once; whether it succeeds, calls will tell. It does nothing for the own region.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`] if this node already uses too many regions.
    pub fn connect(&self, region: &Region) -> Result<()> {
        if region != self.topology().region() {
            self.peer_set(region)?;
        }
        Ok(())
    }

    /// Returns since when no peer of a region has been up, or every answer of its peers was that they cannot reach their
    /// database. `None` if the region is in reach, or was not used yet.
    pub fn unreachable_since(&self, region: &Region) -> Option<Instant> {
        let sets = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get(region)?.unreachable_since()
    }

    /// Returns how many bytes a message may have.
    pub fn max_message_bytes(&self) -> usize {
        self.0.node.config.max_message_bytes
    }

    /// Checks the size of a message. Called before [`dispatch`](Self::dispatch), it makes sure that a message over the
    /// limit is not sent.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`] and [`Error::is_too_large`] if the message is over the limit.
    pub fn check_size(&self, message: &impl Message) -> Result<()> {
        self.0.node.config.check_size(message)
    }

    /// Asks a node of a region to describe itself. In the own region this node describes itself.
    ///
    /// # Errors
    ///
    /// - [`Error::is_not_sent`] if no peer can be asked;
    /// - [`Error::is_outcome_unknown`] if no answer arrived in time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn describe(&self, region: &Region, timeout: Duration) -> Result<DescribeResponse> {
        if region == self.topology().region() {
            return Ok(self.0.node.describe());
        }
        let dispatch = Dispatch::new(deadline_after(timeout)).with_retry(Retry::Always).with_operation("describe");
        let send = |channel| async { RpcClient::new(channel).describe(DescribeRequest {}).await };
        Ok(self.dispatch(region, dispatch, send).await?.response)
    }

    /// Returns the peers of a region, as this node sees them. At the first use of the region it waits until their addresses
    /// are known, for as long as `timeout`. In the own region, this node is one of them if discovery finds it.
    ///
    /// [`call_peer`](Self::call_peer) calls one of them.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`] if the addresses cannot be looked up, or if this node already uses too many regions.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn peers(&self, region: &Region, timeout: Duration) -> Result<Vec<PeerStatus>> {
        self.peer_set(region)?.status(deadline_after(timeout)).await
    }

    /// Sends a request to one of the peers of a region. If an attempt fails, [`Dispatch::retry`] decides whether the
    /// request is sent again. Peers are chosen by their load; a peer is asked twice only if all peers have been asked.
    ///
    /// While no peer is up, or no peer reaches its database, the request waits, for four fifths of its time. If that has
    /// lasted for so long already when it begins, it fails as soon as every peer has failed once more.
    ///
    /// `send` is called for each attempt. It must pass the channel to a generated client and send one request.
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
    /// - [`Error::is_not_sent`] if no peer is known or up, or if the peers refused the request (see [`Error::reason`]);
    /// - [`Error::is_outcome_unknown`] if the request was sent, and the answer was lost or did not arrive before the
    ///   deadline.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer learns that the caller has gone away. Effects up to that point remain.
    pub async fn dispatch<T, F, Fut>(&self, region: &Region, dispatch: Dispatch, send: F) -> Result<Dispatched<T>>
    where
        F: Fn(PeerChannel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let peers = self.peer_set(region)?;
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

    /// Returns the peers of a region. Its first use spawns the task that watches them, as does the first use after that
    /// task panicked.
    fn peer_set(&self, region: &Region) -> Result<PeerSet> {
        let mut sets = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match sets.get(region) {
            Some(peers) if !peers.has_ended() => return Ok(peers.clone()),
            _ => {}
        }
        if sets.len() >= MAX_REGIONS && !sets.contains_key(region) {
            return Err(Error::not_sent(format!(
                "cannot connect to region {region}: this node already uses {MAX_REGIONS} regions, the limit; use fewer"
            )));
        }
        let primary_region = self.topology().primary_region().clone();
        let (discover, identity) = (Arc::clone(&self.0.discover), Arc::clone(&self.0.identity));
        let peers = PeerSet::spawn(region.clone(), primary_region, discover, identity, self.0.node.config.peers);
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
    /// The lock is held for one operation on the map.
    peers: Mutex<HashMap<Region, PeerSet>>,
}

/// How many regions an `Rpc` may use; calls to further ones are not sent. Each region has a task. More names than this
/// probably come from input that was not checked.
const MAX_REGIONS: usize = 256;
