//! What a peer is called in errors, spans and logs.

use std::fmt;
use std::net::SocketAddr;

use crate::region::Region;

/// A peer: a node of the same application, by its region and address. Prints as `iad/10.0.0.1:4750`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PeerName {
    /// Where it runs.
    pub region: Region,
    /// Where it listens.
    pub address: SocketAddr,
}

impl PeerName {
    pub(crate) fn new(region: Region, address: SocketAddr) -> Self {
        Self { region, address }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.region, self.address)
    }
}
