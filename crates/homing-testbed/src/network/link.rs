//! The link between two regions: all relays for the traffic between them.

use std::time::Duration;

use crate::error::Result;
use crate::network::relay::{Cut, Relay};

/// The network between two regions of a [`World`](crate::World): every relay between the two. Its
/// methods change all of them, or only those for one kind of traffic.
///
/// ```no_run
/// # async fn example(world: homing_testbed::World) -> homing_testbed::Result<()> {
/// use homing_testbed::{Cut, Traffic};
///
/// let link = world.link("syd");
/// link.only(Traffic::Replication).cut(Cut::Blackhole).await;
/// // … writes from Sydney are committed, but not visible there …
/// link.heal().await?;
/// # Ok(())
/// # }
/// ```
///
/// The handle is cheap to clone. See [`Relay`] for what a link models.
#[derive(Clone, Debug, Default)]
pub struct Link {
    relays: Vec<(Traffic, Relay)>,
}

/// A kind of traffic on a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// Calls between nodes, in both directions.
    Grpc,
    /// The replica's stream from its primary.
    Replication,
    /// Direct connections to the primary's database, for comparison.
    Direct,
}

impl Link {
    /// Returns the part of the link that carries this kind of traffic.
    #[must_use]
    pub fn only(&self, traffic: Traffic) -> Self {
        let relays = self.relays.iter().filter(|(kind, _)| *kind == traffic).cloned().collect();
        Self { relays }
    }

    /// Returns the round trip time; zero if the link carries nothing.
    pub fn round_trip(&self) -> Duration {
        self.relays.first().map_or(Duration::ZERO, |(_, relay)| relay.round_trip())
    }

    /// Calls [`Relay::set_round_trip`] on every relay.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.relays().for_each(|relay| relay.set_round_trip(round_trip));
    }

    /// Calls [`Relay::set_jitter`] on every relay.
    pub fn set_jitter(&self, jitter: Duration) {
        self.relays().for_each(|relay| relay.set_jitter(jitter));
    }

    /// Calls [`Relay::cut`] on every relay.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the relays may be cut.
    pub async fn cut(&self, cut: Cut) {
        for relay in self.relays() {
            relay.cut(cut).await;
        }
    }

    /// Calls [`Relay::heal`] on every relay.
    ///
    /// # Errors
    ///
    /// An I/O error if a relay cannot listen on its port again. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the relays may be healed.
    pub async fn heal(&self) -> Result<()> {
        for relay in self.relays() {
            relay.heal().await?;
        }
        Ok(())
    }

    /// Calls [`Relay::drop_connections`] on every relay.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the connections may be reset.
    pub async fn drop_connections(&self) {
        for relay in self.relays() {
            relay.drop_connections().await;
        }
    }

    /// Returns the relays of this link.
    pub fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.relays.iter().map(|(_, relay)| relay)
    }

    pub(crate) fn add(&mut self, traffic: Traffic, relay: Relay) {
        self.relays.push((traffic, relay));
    }
}
