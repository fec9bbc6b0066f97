use std::time::Duration;

use homing_rpc::{DnsConfig, Region};

/// How the replicas of a [`ReplicaList`](super::ReplicaList) are used and watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaSettings {
    /// A replica that is behind by more than this is left out until it has caught up. `None`: however long. Default:
    /// 30 s, far beyond the usual lag and still short enough that nobody takes yesterday's data for today's.
    ///
    /// It is judged by looks while the replicas are in use, by what the node has heard of the primary and by what the
    /// replicas have received. A read is not held up for it, so the first one after a quiet time goes by what was known
    /// before.
    pub max_lag: Option<Duration>,

    /// A replica that has more bytes of the log still to replay is left out until it has caught up. Default: `None`,
    /// since how many are too many depends on what is written.
    pub max_lag_bytes: Option<u64>,

    /// How often each replica is looked at while reads are made. Default: 500 ms, so that a replica that falls behind is
    /// noticed far within [`max_lag`](Self::max_lag); a look takes a server about 10 µs. At least 10 ms. A replica that is
    /// left out is looked at as often at first, then ever fewer.
    pub look_interval: Duration,

    /// How often a host name is resolved again where nothing says how long the answer may be believed. Default: 10 s. At
    /// least 1 s.
    pub resolve_interval: Duration,

    /// Who is asked for host names. Default: `None`, the system, by its own rules (`/etc/hosts`, search lists), again
    /// after [`resolve_interval`](Self::resolve_interval). With a name server: that one, again after the answer's time to
    /// live, but at least 1 s and at most a minute later.
    pub dns: Option<DnsConfig>,

    /// The connections to each replica that are opened at most, besides the tracker's one. Default: 16.
    pub pool_size: usize,

    /// The interactive transactions that may be open on a replica, at most; see
    /// [`Config::max_transactions`](crate::Config::max_transactions). Default: three quarters of `pool_size`.
    pub max_transactions: Option<usize>,

    /// Where this node runs, to tell replicas of other regions from its own. Default: `None`, where nobody tells.
    pub region: Option<Region>,
}

impl ReplicaSettings {
    /// Sets the longest time that a replica may be behind.
    #[must_use]
    pub fn with_max_lag(mut self, max_lag: impl Into<Option<Duration>>) -> Self {
        self.max_lag = max_lag.into();
        self
    }

    /// Sets how many bytes a replica may be behind.
    #[must_use]
    pub fn with_max_lag_bytes(mut self, max_lag_bytes: impl Into<Option<u64>>) -> Self {
        self.max_lag_bytes = max_lag_bytes.into();
        self
    }

    /// Sets how often each replica is looked at while reads are made.
    #[must_use]
    pub fn with_look_interval(mut self, look_interval: Duration) -> Self {
        self.look_interval = look_interval.max(SHORTEST_LOOK_INTERVAL);
        self
    }

    /// Sets how often a host name is resolved again.
    #[must_use]
    pub fn with_resolve_interval(mut self, resolve_interval: Duration) -> Self {
        self.resolve_interval = resolve_interval.max(SHORTEST_RESOLVE_INTERVAL);
        self
    }

    /// Sets the name server.
    #[must_use]
    pub fn with_dns(mut self, dns: impl Into<Option<DnsConfig>>) -> Self {
        self.dns = dns.into();
        self
    }

    /// Sets the number of connections to each replica; at least one.
    #[must_use]
    pub fn with_pool_size(mut self, pool_size: usize) -> Self {
        self.pool_size = pool_size.max(1);
        self
    }

    /// Sets where this node runs.
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
            look_interval: LOOK_INTERVAL,
            resolve_interval: RESOLVE_INTERVAL,
            dns: None,
            pool_size: crate::database::POOL_SIZE,
            max_transactions: None,
            region: None,
        }
    }
}

const MAX_LAG: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

/// A look around the world takes longer; more would only be load.
const SHORTEST_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// As for a time to live.
const SHORTEST_RESOLVE_INTERVAL: Duration = Duration::from_secs(1);
