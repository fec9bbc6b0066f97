//! [`ReplicaSettings`], how replicas are used and watched.

use std::time::Duration;

use homing_rpc::{DnsConfig, Region};

use crate::position::kind::PositionKind;

/// How the replicas of a [`ReplicaList`](super::ReplicaList) are used and watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaSettings {
    /// The longest time that a replica may be behind. A replica that is farther behind is left out until it has caught
    /// up. `None` means no limit. Default: 30 s, which is far beyond the usual lag, and short enough that yesterday's
    /// data is not read as today's.
    ///
    /// The lag is measured by probes while reads are made. It is measured against the newest position that the node
    /// knows, from the primary or from a replica that has received it. So a node that only reads, and whose only
    /// replica is cut off from the primary, does not notice the lag. No read waits for a probe: the first read after a
    /// quiet time goes by the last known state.
    pub max_lag: Option<Duration>,

    /// The most bytes of the log that a replica may still have to replay. A replica that has more is left out until it
    /// has caught up. Default: `None`, which means no limit, because a good limit depends on what is written. Servers that
    /// tell positions by transaction do not tell bytes.
    pub max_lag_bytes: Option<u64>,

    /// The shortest time between two probes of a replica. Each probe follows a read; without reads there are none. Default:
    /// 500 ms, so that a replica that hangs is left out after some seconds, and one that falls behind well within
    /// [`max_lag`](Self::max_lag). A probe costs the server about 10 µs. At least 10 ms. A replica that does not answer is
    /// probed less and less often.
    pub probe_interval: Duration,

    /// The time between two resolutions of a host name whose answer has no time to live. Default: 10 s. At least 1 s.
    pub resolve_interval: Duration,

    /// The name server for host names. Default: `None`, which means the system's resolver with its own rules
    /// (`/etc/hosts`, search lists), and a new resolution after [`resolve_interval`](Self::resolve_interval). With a
    /// name server, a name is resolved again after the answer's time to live, but at least 1 s and at most a minute
    /// later.
    pub dns: Option<DnsConfig>,

    /// The most connections to each replica, besides the one of its tracker. Default: 16.
    pub pool_size: usize,

    /// The most interactive transactions that may be open on each replica, see
    /// [`Config::max_transactions`](field@crate::Config::max_transactions). Default: three quarters of `pool_size`.
    pub max_transactions: Option<usize>,

    /// How many bytes of rows one forwarded call may return if a replica becomes the primary, see
    /// [`Config::max_rows_bytes`](field@crate::Config::max_rows_bytes). Default: 15 MiB.
    pub max_rows_bytes: usize,

    /// By what the servers tell positions, see [`Config::positions`](field@crate::Config::positions). Default: `None`, which asks
    /// each server.
    pub positions: Option<PositionKind>,

    /// The region of this node, to tell replicas of other regions from its own. Default: `None`, which treats all
    /// replicas as replicas of this region.
    pub region: Option<Region>,
}

impl ReplicaSettings {
    /// Sets the longest time that a replica may be behind.
    #[must_use]
    pub fn with_max_lag(mut self, max_lag: impl Into<Option<Duration>>) -> Self {
        self.max_lag = max_lag.into();
        self
    }

    /// Sets by what the servers tell positions. `None` asks each server.
    #[must_use]
    pub fn with_positions(mut self, positions: impl Into<Option<PositionKind>>) -> Self {
        self.positions = positions.into();
        self
    }

    /// Sets the most bytes that a replica may be behind.
    #[must_use]
    pub fn with_max_lag_bytes(mut self, max_lag_bytes: impl Into<Option<u64>>) -> Self {
        self.max_lag_bytes = max_lag_bytes.into();
        self
    }

    /// Sets the shortest time between two probes of a replica.
    #[must_use]
    pub fn with_probe_interval(mut self, probe_interval: Duration) -> Self {
        self.probe_interval = probe_interval.max(MIN_PROBE_INTERVAL);
        self
    }

    /// Sets the time between two resolutions of a host name.
    #[must_use]
    pub fn with_resolve_interval(mut self, resolve_interval: Duration) -> Self {
        self.resolve_interval = resolve_interval.max(MIN_RESOLVE_INTERVAL);
        self
    }

    /// Sets the name server.
    #[must_use]
    pub fn with_dns(mut self, dns: impl Into<Option<DnsConfig>>) -> Self {
        self.dns = dns.into();
        self
    }

    /// Sets the most connections to each replica, at least one.
    #[must_use]
    pub fn with_pool_size(mut self, pool_size: usize) -> Self {
        self.pool_size = pool_size.max(1);
        self
    }

    /// Sets the region of this node.
    #[must_use]
    pub fn with_region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            max_lag: Some(MAX_LAG),
            max_lag_bytes: None,
            probe_interval: PROBE_INTERVAL,
            resolve_interval: RESOLVE_INTERVAL,
            dns: None,
            pool_size: crate::database::POOL_SIZE,
            max_transactions: None,
            max_rows_bytes: crate::database::MAX_ROWS_BYTES,
            positions: None,
            region: None,
        }
    }
}

const MAX_LAG: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

/// A probe around the world takes longer, so a shorter interval would only be load.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// DNS answers are kept for at least as long, whatever their time to live.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_secs(1);
