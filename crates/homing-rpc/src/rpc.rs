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
use crate::discover::static_peers::StaticPeers;
use crate::error::reason::Reason;
use crate::error::{Error, Result};
use crate::function::offer;
use crate::function::offer::{Offer, Positions, States};
use crate::function::registry::Registry;
use crate::metadata::identity::Identity;
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
pub struct Rpc(Arc<Inner>);

impl Rpc {
    /// A client in the region of the topology.
    pub fn builder(topology: Topology) -> RpcBuilder {
        RpcBuilder { discover: None, secret: None, offer: Offer::new(topology) }
    }

    /// Where this node runs.
    pub fn topology(&self) -> &Topology {
        &self.0.offer.topology
    }

    /// The credential sent to peers.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.secret.as_ref()
    }

    /// How many bytes a message may have.
    pub fn max_message_bytes(&self) -> usize {
        self.0.offer.max_message_bytes
    }

    /// Whether a message may be sent: to be asked before [`dispatch`](Self::dispatch), so that one over the limit is
    /// provably not sent.
    ///
    /// # Errors
    ///
    /// Not sent, and too large ([`Error::is_too_large`]).
    pub fn check_size(&self, message: &impl Message) -> Result<()> {
        offer::fits(message, self.max_message_bytes()).map_err(|text| Error::refused(Reason::TooLarge, None, text))
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
            return Ok(self.0.offer.describe());
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

    pub(crate) fn offer(&self) -> &Offer {
        &self.0.offer
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
        if sets.len() >= MOST_REGIONS {
            return Err(Error::not_sent(format!(
                "region {region} would be one more than the {MOST_REGIONS} regions that a node talks to; use fewer names"
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
        let Inner { offer, discover, .. } = &*self.0;
        formatter.debug_struct("Rpc").field("topology", &offer.topology).field("discover", discover).finish()
    }
}

/// Settings of an [`Rpc`].
#[derive(Debug)]
#[must_use = "nothing exists before build"]
pub struct RpcBuilder {
    discover: Option<Arc<dyn Discover>>,
    secret: Option<Secret>,
    offer: Offer,
}

impl RpcBuilder {
    /// How the addresses of a region's nodes are found. Default: there are none.
    pub fn discover(self, discover: Arc<dyn Discover>) -> Self {
        Self { discover: Some(discover), ..self }
    }

    /// The credential sent to peers. Default: none.
    pub fn secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// The functions that are run in place when a call is for the own region. Default: none.
    pub fn functions(mut self, functions: Arc<Registry>) -> Self {
        self.offer.functions = functions;
        self
    }

    /// Asked after each function that ran in place. Default: no positions.
    pub fn positions(mut self, positions: Arc<dyn Positions>) -> Self {
        self.offer.positions = Some(positions);
        self
    }

    /// What [`Rpc::describe`] says of the own region's databases. Default: nothing.
    pub fn states(mut self, states: Arc<dyn States>) -> Self {
        self.offer.states = Some(states);
        self
    }

    /// How many bytes a message may have. Default: [`DEFAULT_MAX_MESSAGE_BYTES`](crate::DEFAULT_MAX_MESSAGE_BYTES). The
    /// servers of the application have to agree.
    pub fn max_message_bytes(mut self, max_message_bytes: usize) -> Self {
        self.offer.max_message_bytes = max_message_bytes;
        self
    }

    /// The client.
    pub fn build(self) -> Rpc {
        let identity = Identity::new(self.offer.topology.region(), self.secret.as_ref());
        let discover = self.discover.unwrap_or_else(|| Arc::new(StaticPeers::none()));
        Rpc(Arc::new(Inner {
            discover,
            identity: Arc::new(identity),
            secret: self.secret,
            offer: self.offer,
            peers: Mutex::default(),
        }))
    }
}

struct Inner {
    discover: Arc<dyn Discover>,
    identity: Arc<Identity>,
    secret: Option<Secret>,
    offer: Offer,
    peers: Mutex<HashMap<Region, PeerSet>>,
}

/// Each has a task that looks its addresses up; more names than that come from input that nobody checked.
const MOST_REGIONS: usize = 256;
