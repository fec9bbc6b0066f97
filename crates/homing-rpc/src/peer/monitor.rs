//! One peer: connects, greets, watches its health, and tries again.
//!
//! The [peer set](crate::peer::set) runs it in a task that it keeps, and ends by aborting it, when
//! discovery no longer names the address, or when the set itself ends. The task owns the connection; calls in flight
//! hold the connection open beyond it.

use std::sync::Arc;
use std::time::Duration;

use homing_proto::v1::rpc_client::RpcClient;
use homing_proto::v1::{DescribeRequest, DescribeResponse};
use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc};
use tokio::time::{self, Instant};
use tonic::{Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::{debug, info, warn};

use crate::error::chain;
use crate::error::reason::Reason;
use crate::metadata::identity::Identity;
use crate::peer::backoff::{Backoff, jittered};
use crate::peer::channel::{Link, PeerChannel};
use crate::peer::connection::Connection;
use crate::peer::load::Load;
use crate::peer::name::PeerName;
use crate::region::Region;

/// What a peer's task needs to know.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: PeerName,
    pub(crate) identity: Arc<Identity>,
    /// The primary region as this node sees it.
    pub(crate) primary_region: Region,
    pub(crate) load: Arc<Load>,
    /// Somebody waits for a peer: do not sit out the delay.
    pub(crate) wanted: Arc<Notify>,
    /// Where changes of state are told, with the number by which the set knows the task.
    pub(crate) reports: mpsc::Sender<(u64, PeerState)>,
    pub(crate) number: u64,
}

/// What calls may expect of a peer.
#[derive(Clone, Debug)]
pub(crate) enum PeerState {
    /// Being connected, for the first time or after it was up.
    Connecting,
    /// Takes calls.
    Ready(Arc<Link>),
    /// Does not take calls.
    Down(Down),
}

/// Why a peer does not take calls.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) at: Instant,
    pub(crate) message: Arc<str>,
    /// Present where the peer itself turned us away: it is the same the next moment, and nobody need wait for it.
    pub(crate) refusal: Option<Reason>,
}

impl Peer {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut task = PeerTask {
            backoff: Backoff::new(FIRST_DELAY, MAX_DELAY),
            rng: rand::make_rng(),
            peer: self,
            up_since: None,
            logged: None,
        };
        loop {
            let down = task.serve().await;
            task.pause(down).await;
        }
    }
}

struct PeerTask {
    peer: Peer,
    backoff: Backoff,
    rng: SmallRng,
    /// Since when this connection takes calls.
    up_since: Option<Instant>,
    /// The last failure that was logged, so that one is logged once however often it is met.
    logged: Option<Arc<str>>,
}

impl PeerTask {
    /// One connection from its beginning to its end. Returns why it ended.
    async fn serve(&mut self) -> Down {
        let mut connection = match Connection::open(self.peer.name.address).await {
            Ok(connection) => connection,
            Err(message) => return down(message, None),
        };
        let link = Arc::new(Link {
            name: self.peer.name.clone(),
            requests: connection.requests(),
            identity: Arc::clone(&self.peer.identity),
            load: Arc::clone(&self.peer.load),
        });
        let mut health = match self.greet(&link).await {
            Ok(health) => health,
            Err(down) => return down,
        };
        tokio::select! {
            down = self.watch(&link, &mut health) => down,
            reason = connection.ended() => down(format!("the connection ended: {reason}"), None),
        }
    }

    /// Asks who is there, and begins to watch its health, in one round trip.
    async fn greet(&self, link: &Arc<Link>) -> Result<Streaming<HealthCheckResponse>, Down> {
        let deadline = Instant::now() + GREETING_TIMEOUT;
        let channel = PeerChannel::new(Arc::clone(link), Some(deadline), None);
        let asked = Instant::now();
        let mut rpc = RpcClient::new(channel);
        let mut health = HealthClient::new(PeerChannel::new(Arc::clone(link), None, None));
        let both = futures_util::future::try_join(
            async {
                let described = rpc.describe(DescribeRequest {}).await?;
                link.load.observe(Instant::now(), asked.elapsed());
                Ok(described)
            },
            health.watch(HealthCheckRequest::default()),
        );
        match time::timeout_at(deadline, both).await {
            Ok(Ok((described, health))) => {
                self.check(described.get_ref())?;
                Ok(health.into_inner())
            }
            Ok(Err(status)) => Err(turned_away(&status)),
            Err(_) => Err(down(format!("connected, and no answer within {GREETING_TIMEOUT:?}"), None)),
        }
    }

    /// Whether the peer is who discovery says it is.
    fn check(&self, peer: &DescribeResponse) -> Result<(), Down> {
        let ours = homing_proto::PROTOCOL_VERSION;
        if peer.protocol_version != ours {
            let message = format!("it speaks protocol {}, this node {ours}", peer.protocol_version);
            return Err(down(message, Some(Reason::ProtocolVersion)));
        }
        let name = &self.peer.name;
        if peer.region != name.region.as_str() {
            let message = format!("a node of region {} answers there; correct the addresses", peer.region);
            return Err(down(message, None));
        }
        debug!(peer = %name, node = peer.node, software = peer.software, databases = ?peer.databases, "peer is known");
        if peer.primary_region != self.peer.primary_region.as_str() {
            let (theirs, ours) = (&peer.primary_region, &self.peer.primary_region);
            warn!(peer = %name, %theirs, %ours, "peer has another primary region");
        }
        Ok(())
    }

    /// Follows the peer's health until the stream ends. Returns why it ended.
    async fn watch(&mut self, link: &Arc<Link>, health: &mut Streaming<HealthCheckResponse>) -> Down {
        loop {
            match health.message().await {
                Ok(Some(answer)) if answer.status() == ServingStatus::Serving => {
                    info!(peer = %link.name, round_trip = ?link.load.round_trip(), "peer is up");
                    self.logged = None;
                    self.up_since.get_or_insert_with(Instant::now);
                    self.report(PeerState::Ready(Arc::clone(link))).await;
                }
                Ok(Some(_)) => self.report_down(down("it is draining", None)).await,
                Ok(None) => return down("it closed the health stream, as at its shutdown", None),
                Err(status) => return down(format!("the health stream ended: {}", text(&status)), None),
            }
        }
    }

    /// Waits before the next attempt: not at all after a connection that held, else longer each time.
    async fn pause(&mut self, down: Down) {
        if self.up_since.take().is_some_and(|since| since.elapsed() >= STABLE_AFTER) {
            self.backoff.reset();
            info!(peer = %self.peer.name, reason = %down.message, "peer is lost");
            self.report(PeerState::Connecting).await;
            return;
        }
        let delay = match down.refusal {
            Some(_) => jittered(REFUSED_DELAY, &mut self.rng),
            None => self.backoff.next(&mut self.rng),
        };
        let refused = down.refusal.is_some();
        self.report_down(down).await;
        tokio::select! {
            () = time::sleep(delay) => {}
            () = wanted(&self.peer.wanted), if !refused => {}
        }
    }

    async fn report_down(&mut self, down: Down) {
        let name = &self.peer.name;
        if self.logged.as_ref() == Some(&down.message) {
            debug!(peer = %name, reason = %down.message, "peer is still down");
        } else {
            info!(peer = %name, reason = %down.message, "peer is down");
            self.logged = Some(Arc::clone(&down.message));
        }
        self.report(PeerState::Down(down)).await;
    }

    /// Where nobody listens any more, the set is gone and this task is about to be aborted.
    async fn report(&self, state: PeerState) {
        let _ = self.peer.reports.send((self.peer.number, state)).await;
    }
}

/// Not at once, so that callers who all want a peer do not make it a storm.
async fn wanted(wanted: &Notify) {
    time::sleep(MIN_DELAY).await;
    wanted.notified().await;
}

fn turned_away(status: &Status) -> Down {
    match Reason::of(status) {
        Some(reason @ (Reason::Unauthenticated | Reason::ProtocolVersion)) => {
            down(format!("it turned this node away: {}", status.message()), Some(reason))
        }
        _ => down(format!("the greeting failed: {}", text(status)), None),
    }
}

fn text(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => chain(cause),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

fn down(message: impl Into<Arc<str>>, refusal: Option<Reason>) -> Down {
    Down { at: Instant::now(), message: message.into(), refusal }
}

/// For `Describe`, over a fresh connection.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Between attempts, whoever asks.
pub(crate) const MIN_DELAY: Duration = Duration::from_millis(100);

/// Between attempts when nobody asks: the first and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Between attempts at a peer that turns us away: a person has to change something first.
const REFUSED_DELAY: Duration = Duration::from_secs(10);

/// A connection that held for this long was a good one: the next attempt is made at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);
