//! [`ListEntry`], one connection string of a replica set, and the time to resolve its names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::Region;
use tokio::time::Instant;
use tracing::warn;

use super::list::Replica;
use super::member::{Origin, PRIMARY};
use super::resolve::Resolved;
use super::settings::ReplicaSettings;
use crate::connection::string::ConnectionString;
use crate::database::Config;
use crate::error::Result;
use crate::error::function::with_causes;
use crate::position::role::Role;

/// One connection string of a replica set.
#[derive(Debug, Clone)]
pub(super) struct ListEntry {
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    /// `None` for the primary next to this node.
    pub(super) replica: Option<Replica>,
    pub(super) config: Config,
    pub(super) string: ConnectionString,
    /// The keys of the servers that its names last led to.
    pub(super) keys: BTreeSet<String>,
    /// The origin of the servers of this entry.
    pub(super) origin: Origin,
    /// Whether the settings say that its servers are in the region of this node.
    pub(super) is_own: bool,
    pub(super) was_resolved: bool,
    pub(super) has_warned_of_duplicate: bool,
    resolve_at: Option<Instant>,
    resolved_at: Option<Instant>,
    is_resolving: bool,
    /// Whether a warning about its names has been logged.
    has_warned: bool,
}

impl ListEntry {
    /// Creates the entry of the servers that may be the primary next to this node. Its number is 0.
    pub(super) fn primary(config: Config, now: Instant) -> Result<Self> {
        let string = config.string()?;
        Ok(Self::new(0, PRIMARY.into(), None, string, config, now))
    }

    /// Creates the entry of a replica.
    pub(super) fn replica(number: u64, replica: Replica, settings: &ReplicaSettings, now: Instant) -> Self {
        let variable = format!("the replica {}", replica.name());
        let mut config = Config::new(replica.url(), Role::Replica).with_variable(variable);
        (config.max_transactions, config.max_rows_bytes) = (settings.max_transactions, settings.max_rows_bytes);
        config.positions = settings.positions;
        let is_elsewhere = match (replica.region(), &settings.region) {
            (Some(region), Some(own)) => region != own,
            _ => false,
        };
        let name = replica.shared_name();
        let is_own = settings.region.is_some() && replica.region() == settings.region.as_ref();
        let (string, config) = (replica.string().clone(), config.with_pool_size(settings.pool_size));
        let entry = Self::new(number, name, Some(replica), string, config, now);
        Self { origin: if is_elsewhere { Origin::Elsewhere } else { Origin::Local }, is_own, ..entry }
    }

    /// Resolves its names again at the next opportunity.
    pub(super) fn resolve_again(&mut self, now: Instant) {
        self.resolve_at = Some(now);
    }

    /// Resolves its names early, if it has names, because they may lead to another server now.
    pub(super) fn hasten_resolution(&mut self, now: Instant) {
        let earliest = self.resolved_at.map_or(now, |at| now.max(at + MIN_RESOLVE_PAUSE));
        self.resolve_at = self.resolve_at.map(|at| at.min(earliest));
    }

    fn new(
        number: u64,
        name: Arc<str>,
        replica: Option<Replica>,
        string: ConnectionString,
        config: Config,
        now: Instant,
    ) -> Self {
        Self {
            number,
            name,
            replica,
            config,
            string,
            keys: BTreeSet::new(),
            origin: Origin::OwnPrimary,
            is_own: true,
            was_resolved: false,
            has_warned_of_duplicate: false,
            resolve_at: Some(now),
            resolved_at: None,
            is_resolving: false,
            has_warned: false,
        }
    }

    /// Returns whether it stands for the servers that may be the primary next to this node.
    pub(super) fn is_primary(&self) -> bool {
        self.replica.is_none()
    }

    pub(super) fn region(&self) -> Option<&Region> {
        self.replica.as_ref().and_then(Replica::region)
    }

    /// Returns when to resolve its names next, unless that is under way.
    pub(super) fn next_resolution(&self) -> Option<Instant> {
        self.resolve_at.filter(|_| !self.is_resolving)
    }

    pub(super) fn begin_resolution(&mut self) {
        self.is_resolving = true;
    }

    pub(super) fn end_resolution(&mut self, resolved: &Resolved, now: Instant) {
        self.is_resolving = false;
        self.was_resolved = true;
        self.resolved_at = Some(now);
        self.resolve_at = resolved.again_after.map(|pause| now + pause.max(MIN_RESOLVE_PAUSE));
        match &resolved.failure {
            Some(error) if !self.has_warned => {
                let error = with_causes(error);
                let variable = &self.config.variable;
                warn!(variable, error, "cannot resolve a host name: keeping the addresses known so far");
            }
            _ => {}
        }
        self.has_warned = resolved.failure.is_some();
    }
}

/// The shortest pause between two resolutions, also for a name with a shorter time to live.
const MIN_RESOLVE_PAUSE: Duration = Duration::from_secs(1);
