//! The peers of a region, as an application sees them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, Instant};

use crate::error::Result;
use crate::peer::monitor::PeerState;
use crate::peer::name::PeerName;
use crate::peer::pick::{Member, Snapshot};
use crate::peer::set::PeerSet;

/// A peer, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The region and address of the peer.
    pub name: PeerName,
    /// Whether it takes calls.
    pub health: PeerHealth,
    /// The shortest time in which it has answered; `None` before its first answer.
    pub round_trip: Option<Duration>,
    /// How many calls of this node it has not answered yet.
    pub in_flight: usize,
}

/// Whether a peer takes calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerHealth {
    /// The connection is being made.
    Connecting,
    /// The peer takes calls.
    Up,
    /// The peer takes calls, but it refused or failed the last ones: other peers are preferred.
    Avoided,
    /// The peer does not take calls. The text says why.
    Down(Arc<str>),
}

impl PeerSet {
    /// Returns the peers of the region. Waits until their addresses are known, until the deadline.
    pub(crate) async fn status(&self, deadline: Instant) -> Result<Vec<PeerStatus>> {
        let mut snapshots = self.snapshots();
        let known = snapshots.wait_for(|snapshot| snapshot.lookup.is_some());
        let snapshot = match time::timeout_at(deadline, known).await {
            Ok(Ok(snapshot)) => Arc::clone(&snapshot),
            Ok(Err(_)) | Err(_) => Arc::<Snapshot>::default(),
        };
        if snapshot.members.is_empty() && snapshot.lookup.as_ref().is_none_or(|lookup| !lookup.is_answer) {
            return Err(snapshot.no_peer(self.region()));
        }
        Ok(snapshot.members.iter().map(status).collect())
    }
}

fn status(member: &Member) -> PeerStatus {
    let Member { name, state, load } = member;
    let health = match state {
        PeerState::Connecting => PeerHealth::Connecting,
        PeerState::Ready(_) if load.admits(Instant::now()) => PeerHealth::Up,
        PeerState::Ready(_) => PeerHealth::Avoided,
        PeerState::Down(down) => PeerHealth::Down(Arc::clone(&down.message)),
    };
    let round_trip = Some(load.round_trip()).filter(|time| !time.is_zero());
    PeerStatus { name: name.clone(), health, round_trip, in_flight: load.in_flight() }
}
