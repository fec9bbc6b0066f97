//! Discovery: finds the addresses of a region's nodes, and the regions of the application.

pub(crate) mod dns;
pub(crate) mod environment;
pub(crate) mod fly;
pub(crate) mod host;
pub(crate) mod static_peers;
pub(crate) mod template;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Result;
use crate::region::Region;
use crate::task::BoxFuture;

/// Finds the addresses of a region's nodes, and the regions of the application.
///
/// An empty list is an answer: the region has no nodes, or the name service does not know the region. An error says
/// that the look-up itself failed. In both cases the peers that are already known stay, so an implementation does not
/// have to remember earlier answers. A part of the addresses is an answer too, if it is marked as
/// [`incomplete`](Resolution::incomplete).
pub trait Discover: Debug + Send + Sync + 'static {
    /// Returns the current addresses of a region's nodes.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`](crate::Error::is_not_sent) if the name service cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>>;

    /// Returns all regions in which the application runs, sorted and without duplicates.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`](crate::Error::is_not_sent) if the name service cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>>;

    /// Returns where [`resolve`](Self::resolve) looks for the addresses of a region, for messages about a region that has
    /// none: "there is no address in …". Default: "the answer of discovery".
    fn place(&self, region: &Region) -> String {
        let _ = region;
        "the answer of discovery".to_owned()
    }
}

/// The addresses of a region's nodes, and how long they are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// Sorted and without duplicates, so that two answers can be compared.
    pub addresses: Vec<SocketAddr>,
    /// How long to wait before the next look-up, between [`MIN_TTL`](Self::MIN_TTL) and [`MAX_TTL`](Self::MAX_TTL).
    pub ttl: Duration,
    /// Whether these are all addresses. If a part of the look-up failed, peers that are already known stay until they
    /// fail, and the look-up is repeated soon.
    pub is_complete: bool,
}

impl Resolution {
    /// One second. Records with a time to live of zero are common; without this limit they would be looked up without a
    /// pause.
    pub const MIN_TTL: Duration = Duration::from_secs(1);

    /// One minute. Zones often use an hour or a day, but autoscaling and deployments replace instances much sooner.
    pub const MAX_TTL: Duration = Duration::from_secs(60);

    /// Returns a complete answer: these addresses sorted and without duplicates, with the time to live clamped to its
    /// bounds.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>, ttl: Duration) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { addresses, ttl: ttl.clamp(Self::MIN_TTL, Self::MAX_TTL), is_complete: true }
    }

    /// Says that a part of the look-up failed, so that addresses may be missing.
    #[must_use]
    pub fn incomplete(self) -> Self {
        Self { is_complete: false, ..self }
    }
}

/// The time limit of a look-up of peers, in addition to those of the resolver.
pub(crate) const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sorted_and_there_once() {
        let addresses = ["[::1]:2", "10.0.0.2:1", "10.0.0.1:9", "10.0.0.2:1", "[::1]:1"].map(|a| a.parse().unwrap());
        let resolution = Resolution::new(addresses, Duration::from_secs(5));
        let sorted = ["10.0.0.1:9", "10.0.0.2:1", "[::1]:1", "[::1]:2"].map(|a| a.parse().unwrap());
        assert_eq!(resolution.addresses, sorted);
    }

    #[test]
    fn time_to_live_is_clamped() {
        let table = [
            (Duration::ZERO, Resolution::MIN_TTL),
            (Duration::from_secs(7), Duration::from_secs(7)),
            (Duration::MAX, Resolution::MAX_TTL),
        ];
        for (ttl, expected) in table {
            assert_eq!(Resolution::new([], ttl).ttl, expected);
        }
    }
}
