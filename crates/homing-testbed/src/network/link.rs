//! All traffic between two regions.

use std::time::Duration;

use crate::{
    error::Result,
    network::relay::{Cut, Relay},
};

/// The network between two regions of a [`World`](crate::World): every relay that carries
/// something from one to the other, to be changed together or by the kind of traffic.
///
/// ```no_run
/// # async fn example(world: homing_testbed::World) -> homing_testbed::Result<()> {
/// use homing_testbed::{Cut, Traffic};
///
/// let link = world.link("syd");
/// link.only(Traffic::Replication).cut(Cut::Blackhole).await;
/// // … writes from Sydney are committed, and not seen there …
/// link.heal().await?;
/// # Ok(())
/// # }
/// ```
///
/// A cheap handle to clone; [`Relay`] says what is modelled.
#[derive(Clone, Debug, Default)]
pub struct Link {
    relays: Vec<(Traffic, Relay)>,
}

/// What flows through a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// Calls between nodes, in both directions.
    Grpc,
    /// The replica's stream from its primary.
    Replication,
    /// Connections straight to the primary's database, for comparison.
    Direct,
}

impl Link {
    /// The part of the link that carries this.
    #[must_use]
    pub fn only(&self, traffic: Traffic) -> Self {
        let relays = self.relays.iter().filter(|(kind, _)| *kind == traffic).cloned().collect();
        Self { relays }
    }

    /// The latency there and back; zero for a link that carries nothing.
    pub fn round_trip(&self) -> Duration {
        self.relays.first().map_or(Duration::ZERO, |(_, relay)| relay.round_trip())
    }

    /// As [`Relay::set_round_trip`].
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.relays().for_each(|relay| relay.set_round_trip(round_trip));
    }

    /// As [`Relay::set_jitter`].
    pub fn set_jitter(&self, jitter: Duration) {
        self.relays().for_each(|relay| relay.set_jitter(jitter));
    }

    /// As [`Relay::cut`].
    ///
    /// # Cancel safety
    ///
    /// Any part of the link may be cut when the future is dropped.
    pub async fn cut(&self, cut: Cut) {
        for relay in self.relays() {
            relay.cut(cut).await;
        }
    }

    /// As [`Relay::heal`].
    ///
    /// # Errors
    ///
    /// As [`Relay::heal`].
    ///
    /// # Cancel safety
    ///
    /// Any part of the link may be healed when the future is dropped.
    pub async fn heal(&self) -> Result<()> {
        for relay in self.relays() {
            relay.heal().await?;
        }
        Ok(())
    }

    /// As [`Relay::drop_connections`].
    ///
    /// # Cancel safety
    ///
    /// Any of the connections may be reset when the future is dropped.
    pub async fn drop_connections(&self) {
        for relay in self.relays() {
            relay.drop_connections().await;
        }
    }

    /// The relays it is made of.
    pub fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.relays.iter().map(|(_, relay)| relay)
    }

    pub(crate) fn add(&mut self, traffic: Traffic, relay: Relay) {
        self.relays.push((traffic, relay));
    }
}
