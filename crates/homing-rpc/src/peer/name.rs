//! The name of a peer in errors, spans and logs.

use std::fmt;
use std::net::SocketAddr;

use crate::region::Region;

/// The region and address of a peer, a node of the same application. `Display` prints `iad/10.0.0.1:4750`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PeerName {
    /// The region of the peer.
    pub region: Region,
    /// The address on which the peer listens.
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
