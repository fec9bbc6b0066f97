//! The limits of the way to peers.

use std::time::Duration;

/// The limits of a node's way to its peers.
///
/// A link with a long round trip or many lost packets needs longer times. Shorter ones notice a peer sooner that is gone, and
/// more often take a slow one for gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSettings {
    /// How long it may take to connect to a peer; TLS and the proof of the secret have as long again, each. Default: 3 s, which is longer than any round trip on earth with a lost
    /// packet, and shorter than the usual time limit of a call, so that its error says which address does not answer.
    pub connect_timeout: Duration,

    /// After how long without any answer, while calls are in flight, a peer is probed. Default: 200 ms.
    pub probe_after: Duration,

    /// How long the peer may take to answer the probe, but at least three round trips. If it does not, new calls go elsewhere,
    /// and those that may be repeated are sent again. Default: 500 ms: with [`probe_after`](Self::probe_after) and a round trip to
    /// another peer it is less than a second. A lost packet is repeated within it.
    pub probe_timeout: Duration,

    /// How many calls to a region wait at this node while all its peers are full; further ones are refused as overloaded.
    /// Default: 1024, as many as a server serves by default: more would wait for longer than their callers do.
    pub max_waiting: usize,
}

impl PeerSettings {
    /// Sets how long it may take to connect to a peer.
    #[must_use]
    pub fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets after how long without an answer a peer is probed.
    #[must_use]
    pub fn with_probe_after(self, probe_after: Duration) -> Self {
        Self { probe_after, ..self }
    }

    /// Sets how long a peer may take to answer a probe.
    #[must_use]
    pub fn with_probe_timeout(self, probe_timeout: Duration) -> Self {
        Self { probe_timeout, ..self }
    }

    /// Sets how many calls wait while all peers of a region are full; 0 refuses them at once.
    #[must_use]
    pub fn with_max_waiting(self, max_waiting: usize) -> Self {
        Self { max_waiting, ..self }
    }
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            probe_after: Duration::from_millis(200),
            probe_timeout: Duration::from_millis(500),
            max_waiting: 1024,
        }
    }
}
