//! What is known of each replica at one moment.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::Region;

use super::choice::{Candidate, MemberKind};
use crate::database::Database;
use crate::position::Position;
use crate::position::role::Role;
use crate::position::state::Verdict;

/// What is known of one replica, or of the primary next to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its name: that of its entry in the list, with the address where the entry stands for several.
    pub name: Arc<str>,

    /// Where it is, if that was said.
    pub region: Option<Region>,

    /// The address that its connections lead to.
    pub address: String,

    /// What it was when it was last asked. `None` if it never answered.
    pub role: Option<Role>,

    /// Whether it is read from.
    pub health: Health,

    /// How long a question takes, smoothed. `None` before the first one.
    pub round_trip: Option<Duration>,

    /// How long it is behind, as far as is known.
    pub lag: Option<Duration>,

    /// How many bytes of the log it has still to replay, as far as is known.
    pub lag_bytes: Option<u64>,
}

/// Whether a replica is read from.
///
/// Closed: there is nothing between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers and is not too far behind.
    Up,

    /// It answers, but is further behind than the settings allow: read from only by who asks for it by name.
    TooFarBehind,

    /// It does not answer.
    Down,
}

/// A server that reads may go to.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(super) id: u64,
    /// The name of its entry in the list.
    pub(super) entry: Arc<str>,
    pub(super) status: ReplicaStatus,
    pub(super) database: Database,
    pub(super) origin: Origin,
}

/// How a server came to be here, and what follows for writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Given as the primary next to this node.
    OwnPrimary,

    /// Of the list, and of this region or one that nobody named: if it is promoted, writes go straight to it.
    Here,

    /// Of the list, and of another region, or a primary already when it was found: writes to it are left to the nodes
    /// next to it, as long as there are any.
    Elsewhere,
}

impl Member {
    /// The only member of a set that never changes.
    pub(super) fn alone(database: Database) -> Self {
        let (name, origin) = match database.config().role {
            Role::Primary => (super::PRIMARY.into(), Origin::OwnPrimary),
            Role::Replica => (Arc::from(database.pool().address().authority()), Origin::Here),
        };
        let status = ReplicaStatus {
            name: Arc::clone(&name),
            region: None,
            address: database.pool().address().to_string(),
            role: database.role(),
            health: Health::Up,
            round_trip: None,
            lag: None,
            lag_bytes: None,
        };
        Self { id: 0, entry: name, status, database, origin }
    }

    /// Tells it from others, also from one that had its name before.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.status.name
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.database.role() == Some(Role::Primary)
    }

    /// Whether it is known to have everything up to a position, without asking.
    pub(crate) fn is_known_to_have_reached(&self, position: Position) -> bool {
        let state = self.database.tracker().state();
        let state = *state.borrow();
        self.is_local_primary() || state.is_some_and(|state| state.compare(position) == Verdict::Reached)
    }

    /// Whether it is the primary that this node writes to, so that whatever a session has seen is there.
    pub(crate) fn is_local_primary(&self) -> bool {
        self.origin != Origin::Elsewhere && self.is_primary()
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        *self.entry == *name || *self.status.name == *name
    }

    pub(super) fn candidate(&self, position: Option<Position>) -> Candidate {
        let kind = match (self.origin, self.is_primary()) {
            (Origin::OwnPrimary, true) => MemberKind::OwnPrimary,
            (_, true) => MemberKind::Primary,
            (_, false) => MemberKind::Replica,
        };
        Candidate {
            kind,
            health: self.status.health,
            round_trip: self.status.round_trip,
            lag: self.status.lag,
            has_reached: position.is_some_and(|position| self.is_known_to_have_reached(position)),
        }
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        ReplicaStatus { role: self.database.role(), ..self.status.clone() }
    }
}
