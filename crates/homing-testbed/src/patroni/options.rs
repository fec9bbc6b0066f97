//! The options of a cluster.

use super::settings::ClusterSettings;

/// Options of a highly available cluster; see [`Patroni::options`](crate::Patroni::options).
///
/// Defaults: three members, asynchronous replication, and 1 MiB that a new leader may lag behind.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a cluster is started with them"]
pub struct PatroniOptions {
    pub(super) members: usize,
    pub(super) settings: ClusterSettings,
}

impl Default for PatroniOptions {
    fn default() -> Self {
        Self { members: 3, settings: ClusterSettings { is_synchronous: false, max_lag_bytes: 1 << 20 } }
    }
}

impl PatroniOptions {
    /// Sets how many members there are.
    pub fn with_members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Makes a commit wait for one replica, which is then the only one that may become the leader
    /// (`synchronous_mode`).
    pub fn with_synchronous_mode(mut self) -> Self {
        self.settings.is_synchronous = true;
        self
    }

    /// Sets how many bytes of the log a member may miss and still become the leader (`maximum_lag_on_failover`).
    pub fn with_max_lag_on_failover(mut self, bytes: u64) -> Self {
        self.settings.max_lag_bytes = bytes;
        self
    }
}
