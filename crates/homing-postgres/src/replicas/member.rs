//! [`Member`], a server that reads may go to, and [`Snapshot`], all members at one moment.

use std::sync::Arc;

use super::status::ReplicaStatus;
use crate::database::{Config, Database, check_role};
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::position::state::Verdict;
use crate::position::{Position, Timeline};

/// All members at one moment, in the order of the list, the primary next to this node first.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(pub(super) Vec<Arc<Member>>);

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

/// The source of a server, which decides whether this node sends writes straight to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was given as the primary next to this node.
    OwnPrimary,

    /// It is from the list, and its region is this one or not known. If it is promoted, writes go straight to it.
    Local,

    /// It is from the list, and its region is another one, or it was already a primary when it was found. Writes go
    /// through the nodes next to it, as long as there are any.
    Elsewhere,
}

impl Member {
    /// Returns its id, which differs even from that of an earlier member of the same name.
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

    /// Tells, without a query, whether it is known to have reached a position.
    pub(crate) fn is_known_to_have_reached(&self, position: Position) -> bool {
        let state = self.database.tracker().state();
        let state = *state.borrow();
        self.is_local_primary() || state.is_some_and(|state| state.compare(position) == Verdict::Reached)
    }

    /// Returns the server's timeline if it is known to have a position, without a query.
    pub(crate) fn timeline_that_has(&self, position: Position) -> Option<Timeline> {
        let state = (*self.database.tracker().state().borrow())?;
        (state.compare(position) == Verdict::Reached).then_some(state.position.timeline)
    }

    /// Tells whether it is the primary that this node writes to. Unless it is an old primary, such a server has everything
    /// that a session has seen.
    pub(crate) fn is_local_primary(&self) -> bool {
        self.origin != Origin::Elsewhere && self.is_primary()
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        *self.entry == *name || *self.status.name == *name
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        ReplicaStatus { role: self.database.role(), ..self.status.clone() }
    }

    pub(super) fn check_role(&self) -> Result<()> {
        let Some(server) = self.database.pool().server() else { return Ok(()) };
        let config = Config::new("", Role::Replica).with_variable(REPLICA_VARIABLE);
        check_role(&config, server, self.database.pool().address())
    }

    pub(super) fn timeline(&self) -> Option<Timeline> {
        self.database.tracker().state().borrow().map(|state| state.position.timeline)
    }
}

impl Snapshot {
    pub(super) fn no_such(&self, name: &str) -> Error {
        let names: Vec<_> = self.0.iter().map(|member| &**member.name()).collect();
        let known = match names.is_empty() {
            true => "this node has no replicas".to_owned(),
            false => format!("this node has {}", names.join(", ")),
        };
        Error::misuse(format!("no replica is named {name:?}: {known}"))
    }
}

/// The name of the primary next to this node.
pub(super) const PRIMARY: &str = "primary";

/// The variable from which a list of one replica usually comes.
const REPLICA_VARIABLE: &str = "HOMING_REPLICA_URL";
