//! Discovery: which addresses stand for a region, and which regions there are.

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

/// Knows which addresses stand for a region, and which regions there are.
///
/// An empty list is an answer: nobody is there, or the name service does not know the region. An error says that the
/// question itself failed. Either way the peers known before are kept, so an implementation need not remember any.
pub trait Discover: Debug + Send + Sync + 'static {
    /// The addresses of a region's nodes, at this moment.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`](crate::Error::is_not_sent), where whoever knows the addresses could not be asked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>>;

    /// All regions in which the application runs, sorted, each one once.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>>;
}

/// The addresses of a region's nodes, and for how long to believe that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolution {
    /// Sorted, each address once, so that two answers can be compared.
    pub addresses: Vec<SocketAddr>,
    /// When to ask again, between [`MIN_TTL`](Self::MIN_TTL) and [`MAX_TTL`](Self::MAX_TTL) from the answer.
    pub ttl: Duration,
}

impl Resolution {
    /// One second: records with a time to live of zero are common, and must not turn into questions without a pause.
    pub const MIN_TTL: Duration = Duration::from_secs(1);

    /// One minute: a zone's usual hour or day is far longer than an instance lives that autoscaling or a deploy moves.
    pub const MAX_TTL: Duration = Duration::from_secs(60);

    /// These addresses, sorted and without duplicates, and the time to live brought within its bounds.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>, ttl: Duration) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { addresses, ttl: ttl.clamp(Self::MIN_TTL, Self::MAX_TTL) }
    }
}

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
    fn the_time_to_live_stays_within_its_bounds() {
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
