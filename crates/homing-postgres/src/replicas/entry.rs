//! [`ListEntry`], one connection string of a replica set, and the time to resolve its names.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::Region;
use tokio::time::Instant;
use tracing::warn;

use super::list::Replica;
use super::member::{Origin, PRIMARY};
use super::resolve::Resolved;
use super::settings::ReplicaSettings;
use crate::connection::address::Address;
use crate::database::Config;
use crate::error::function::with_causes;
use crate::position::role::Role;

/// One connection string of a replica set.
#[derive(Debug)]
pub(super) struct ListEntry {
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    /// `None` for the primary next to this node.
    pub(super) replica: Option<Replica>,
    pub(super) config: Config,
    /// The parsed connection string.
    pub(super) target: tokio_postgres::Config,
    /// The origin of the servers of this entry.
    pub(super) origin: Origin,
    pub(super) was_resolved: bool,
    pub(super) is_moving: bool,
    pub(super) has_warned_of_duplicate: bool,
    resolve_at: Option<Instant>,
    is_resolving: bool,
    /// Whether a warning about its names has been logged.
    has_warned: bool,
}

impl ListEntry {
    /// Creates the entry of the primary, to which this node is already connected.
    pub(super) fn primary(number: u64, config: Config, now: Instant) -> Self {
        let mut entry = Self::new(number, PRIMARY.into(), None, config, now);
        entry.was_resolved = true;
        entry
    }

    pub(super) fn replica(number: u64, replica: Replica, settings: &ReplicaSettings, now: Instant) -> Self {
        let variable = format!("the replica {}", replica.name());
        let mut config = Config::new(replica.url(), Role::Replica).with_variable(variable);
        config.max_transactions = settings.max_transactions;
        let is_elsewhere = match (replica.region(), &settings.region) {
            (Some(region), Some(own)) => region != own,
            _ => false,
        };
        let name = replica.shared_name();
        let entry = Self::new(number, name, Some(replica), config.with_pool_size(settings.pool_size), now);
        Self { origin: if is_elsewhere { Origin::Elsewhere } else { Origin::Local }, ..entry }
    }

    /// Resolves its names again at the next opportunity.
    pub(super) fn resolve_again(&mut self, now: Instant) {
        self.resolve_at = Some(now);
    }

    fn new(number: u64, name: Arc<str>, replica: Option<Replica>, config: Config, now: Instant) -> Self {
        let target = Address::parse(&config.url, &config.variable).unwrap_or_default();
        Self {
            number,
            name,
            replica,
            config,
            target,
            origin: Origin::OwnPrimary,
            was_resolved: false,
            is_moving: false,
            has_warned_of_duplicate: false,
            resolve_at: Some(now),
            is_resolving: false,
            has_warned: false,
        }
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
        self.resolve_at = resolved.again_after.map(|pause| now + pause.max(MIN_RESOLVE_PAUSE));
        match &resolved.failure {
            Some(error) if !self.has_warned => {
                let error = with_causes(error);
                warn!(replica = %self.name, error, "cannot resolve a host name: keeping the addresses known so far");
            }
            _ => {}
        }
        self.has_warned = resolved.failure.is_some();
    }
}

/// The shortest pause between two resolutions, also for a name with a shorter time to live.
const MIN_RESOLVE_PAUSE: Duration = Duration::from_secs(1);
