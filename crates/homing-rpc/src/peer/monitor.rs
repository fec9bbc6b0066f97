//! The task of one peer: it connects, greets the peer, watches its health, probes it if calls get no answer, and connects
//! again.
//!
//! - **Spawned** by the [peer set](crate::peer::set), which keeps it in a `JoinSet`.
//! - **Owns** the connection and the health stream. Calls in flight keep the connection open after the task has ended.
//! - **Channels:** out, the queue of reports of the peer set; in, a `Notify` of the peer set.
//! - **Ends** when the peer set aborts it: discovery no longer returns the address, or the set ends.
//! - **Panics**, also those of the connection, are logged. The peer counts as down, and the task connects again after
//!   the usual delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homing_proto::v1::rpc_client::RpcClient;
use homing_proto::v1::{DescribeRequest, DescribeResponse};
use rand::rngs::SmallRng;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{self, Instant};
use tonic::{Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::{debug, error, info, warn};

use crate::error::causes::Causes;
use crate::error::reason::Reason;
use crate::metadata::identity::Identity;
use crate::peer::backoff::{Backoff, jittered};
use crate::peer::channel::{Link, PeerChannel};
use crate::peer::connection::{Connection, MAX_STREAMS};
use crate::peer::fate::TransportError;
use crate::peer::load::Load;
use crate::peer::name::PeerName;
use crate::peer::settings::PeerSettings;
use crate::region::Region;
use crate::task::catch_panic;

/// The input of a peer's task.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: PeerName,
    pub(crate) identity: Arc<Identity>,
    pub(crate) settings: PeerSettings,
    /// The primary region in this node's settings.
    pub(crate) primary_region: Region,
    pub(crate) load: Arc<Load>,
    /// Notified if a call waits for a peer, which ends the delay before the next attempt.
    pub(crate) wanted: Arc<Notify>,
    /// The queue for changes of state; each carries `number`, by which the set identifies the task.
    pub(crate) reports: mpsc::Sender<(u64, PeerState)>,
    pub(crate) number: u64,
}

/// The state of a peer, as calls see it.
#[derive(Clone, Debug)]
pub(crate) enum PeerState {
    /// The connection is being made, for the first time or after the peer was up.
    Connecting,
    /// The peer takes calls.
    Ready(Arc<Link>),
    /// The peer does not take calls.
    Down(Down),
}

impl PeerState {
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

/// Why a peer does not take calls.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) at: Instant,
    pub(crate) message: Arc<str>,
    /// Present if the peer itself refused this node. It will refuse the next attempt too, so calls do not wait for it.
    pub(crate) refusal: Option<Reason>,
}

impl Peer {
    /// Runs until the task is aborted.
    pub(crate) async fn run(self) {
        let mut task = PeerTask {
            backoff: Backoff::new(FIRST_DELAY, MAX_DELAY),
            rng: rand::make_rng(),
            peer: self,
            up_since: None,
            logged: None,
        };
        loop {
            let down = catch_panic(task.serve()).await.unwrap_or_else(|panic| {
                error!(peer = %task.peer.name, panic, "a bug: watching a peer panicked; connecting again");
                down(format!("a bug, watching it panicked: {panic}"), None)
            });
            task.pause(down).await;
        }
    }
}

struct PeerTask {
    peer: Peer,
    backoff: Backoff,
    rng: SmallRng,
    /// When this connection began to take calls.
    up_since: Option<Instant>,
    /// The last failure that was logged, so that a repeated failure is logged once.
    logged: Option<Arc<str>>,
}

impl PeerTask {
    /// Makes a connection and waits until it ends. Returns why it ended.
    async fn serve(&mut self) -> Down {
        let (address, timeout) = (self.peer.name.address, self.peer.settings.connect_timeout);
        let mut connection = match Connection::open(address, timeout, &self.peer.identity).await {
            Ok(connection) => connection,
            Err(failure) => return down(failure.message, failure.refusal),
        };
        let link = Arc::new(Link {
            name: self.peer.name.clone(),
            requests: connection.requests(),
            identity: Arc::clone(&self.peer.identity),
            load: Arc::clone(&self.peer.load),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            is_silent: AtomicBool::new(false),
        });
        let mut health = match self.greet(&link).await {
            Ok(health) => health,
            Err(other) => {
                return connection.refusal().map_or(other, |failure| down(failure.message, failure.refusal));
            }
        };
        let settings = self.peer.settings;
        tokio::select! {
            down = self.watch(&link, &mut health) => down,
            reason = connection.ended() => down(format!("the connection ended: {reason}"), None),
            down = silence(&link, settings) => down,
        }
    }

    /// Asks the peer to describe itself, and begins to watch its health, in one round trip.
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
            Err(_) => Err(down(format!("connected, but no answer within {GREETING_TIMEOUT:?}"), None)),
        }
    }

    /// Checks that the peer is the node that discovery promised.
    fn check(&self, peer: &DescribeResponse) -> Result<(), Down> {
        let ours = homing_proto::PROTOCOL_VERSION;
        if peer.protocol_version != ours {
            let message = format!("it speaks protocol {}, but this node speaks {ours}", peer.protocol_version);
            return Err(down(message, Some(Reason::ProtocolVersion)));
        }
        let name = &self.peer.name;
        if peer.region != name.region.as_str() {
            let message = format!("the node at this address is in region {}; correct the addresses", peer.region);
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

    /// Waits before the next attempt. After a stable connection it does not wait; after others the delay grows each
    /// time.
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
            match down.refusal {
                Some(_) => warn!(peer = %name, reason = %down.message, "peer refuses this node"),
                None => info!(peer = %name, reason = %down.message, "peer is down"),
            }
            self.logged = Some(Arc::clone(&down.message));
        }
        self.report(PeerState::Down(down)).await;
    }

    /// Reports a change of state. If the queue is closed, the set has ended and is about to abort this task.
    async fn report(&self, state: PeerState) {
        let _ = self.peer.reports.send((self.peer.number, state)).await;
    }
}

/// Waits until the peer leaves calls and then a probe without an answer. The PINGs of the connection notice that too, but
/// they take longer than a call has time: they end the connection and with it calls that may still be answered. This
/// only makes another connection.
async fn silence(link: &Arc<Link>, settings: PeerSettings) -> Down {
    let mut health = HealthClient::new(PeerChannel::new(Arc::clone(link), None, None));
    loop {
        link.load.is_busy().await;
        quiet(&link.load, settings.probe_after).await;
        let limit = settings.probe_timeout.max(PROBE_ROUND_TRIPS * link.load.round_trip());
        // Any answer will do. If the connection has ended, its owner knows.
        if time::timeout(limit, health.check(HealthCheckRequest::default())).await.is_err() {
            link.is_silent.store(true, Ordering::Release);
            return down(format!("it answered neither calls nor a probe within {limit:?}"), None);
        }
    }
}

/// Waits until calls have been in flight for this time without an answer. Counts from the last answer, so that a peer which falls
/// silent right after it is not noticed later than another one.
async fn quiet(load: &Load, time: Duration) {
    let mut since = Instant::now();
    loop {
        time::sleep_until(since + time).await;
        match load.quiet_since(since) {
            Some(later) if later > since => since = later,
            Some(_) => return,
            None => {
                load.is_busy().await;
                since = Instant::now();
            }
        }
    }
}

/// Waits until a call needs a peer, but at least [`MIN_DELAY`], so that many waiting calls do not cause many attempts.
async fn wanted(wanted: &Notify) {
    time::sleep(MIN_DELAY).await;
    wanted.notified().await;
}

fn turned_away(status: &Status) -> Down {
    match Reason::of(status) {
        Some(reason @ (Reason::OtherApplication | Reason::ProtocolVersion | Reason::Unauthenticated)) => {
            down(format!("it refused this node: {}", status.message()), Some(reason))
        }
        _ if TransportError::demands_proof(status) => {
            let message = "it refused this node, which has no secret or no TLS: set the same HOMING_SECRET, and HOMING_TLS_CERT and the \
                           others, on all nodes";
            down(message, Some(Reason::Unauthenticated))
        }
        _ => down(format!("the greeting failed: {}", text(status)), None),
    }
}

fn text(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => Causes(cause).to_string(),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

fn down(message: impl Into<Arc<str>>, refusal: Option<Reason>) -> Down {
    Down { at: Instant::now(), message: message.into(), refusal }
}

/// The time limit of the greeting on a new connection.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest delay between attempts, also while calls wait.
pub(crate) const MIN_DELAY: Duration = Duration::from_millis(100);

/// The delays between attempts while no call waits: the first and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The delay between attempts at a peer that refuses this node: an operator has to correct a setting first.
const REFUSED_DELAY: Duration = Duration::from_secs(10);

/// A connection that lasted for this long was stable, so the next attempt is made at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// How many round trips a peer has at least to answer a probe, if it is far away.
const PROBE_ROUND_TRIPS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quiet_counts_from_the_last_answer() {
        let (load, began, limit) = (Arc::new(Load::default()), Instant::now(), Duration::from_millis(200));
        let _call = load.begin();
        let answers = async {
            for _ in 0..3 {
                time::sleep(Duration::from_millis(90)).await;
                load.observe(Instant::now(), Duration::from_millis(1));
            }
        };
        tokio::join!(answers, quiet(&load, limit));
        assert_eq!(began.elapsed(), Duration::from_millis(270) + limit);
    }
}
