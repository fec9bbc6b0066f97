//! [`Member`], a server that reads may go to, and [`Snapshot`], all members at one moment.

use std::sync::Arc;

use super::status::{Health, ReplicaStatus};
use crate::connection::session_attrs::{Admission, SessionAttrs};
use crate::database::Database;
use crate::error::Error;
use crate::position::role::Role;
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
    pub(super) session_attrs: SessionAttrs,
}

/// The source of a server, which decides whether this node sends writes straight to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was given as the primary next to this node, or as one of the servers that may have this role.
    OwnPrimary,

    /// It is from the list, and its region is this one or not known. If it is promoted, writes go straight to it.
    Local,

    /// It is from the list, and its region is another one, or it is not known to be this one and the server was already a
    /// primary when it was found. Writes go through the nodes next to it, as long as there are any.
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
        self.is_local_primary() || self.database.tracker().is_known_to_have_reached(position)
    }

    /// Returns the server's timeline if it is known to have a position, without a query.
    pub(crate) fn timeline_that_has(&self, position: Position) -> Option<Timeline> {
        let tracker = self.database.tracker();
        let timeline = tracker.known_state()?.position.timeline;
        tracker.is_known_to_have_reached(position).then_some(timeline)
    }

    /// Tells whether it is the primary that this node writes to. Unless it is an old primary, such a server has everything
    /// that a session has seen.
    pub(crate) fn is_local_primary(&self) -> bool {
        self.origin != Origin::Elsewhere && self.is_primary()
    }

    /// Tells whether it answered when it was last asked for its role or its state.
    pub(crate) fn answers(&self) -> bool {
        self.status.health != Health::Down
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        *self.entry == *name || *self.status.name == *name
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        ReplicaStatus { role: self.database.role(), ..self.status.clone() }
    }

    /// Returns whether the settings let it answer reads, with the role that it has now.
    pub(super) fn admission(&self) -> Admission {
        let is_read_only = self.database.pool().server().is_some_and(|server| server.is_read_only);
        self.session_attrs.admission(self.database.role(), is_read_only)
    }

    pub(super) fn timeline(&self) -> Option<Timeline> {
        self.database.timeline()
    }
}

impl Snapshot {
    /// Returns the primary that this node writes to. After a failover there may be two that say so: one that answered last
    /// time counts, and of these the one that was promoted last.
    pub(super) fn local_primary(&self) -> Option<&Arc<Member>> {
        let primaries = self.0.iter().filter(|member| member.is_local_primary());
        primaries.max_by_key(|member| (member.answers(), member.timeline(), member.origin == Origin::OwnPrimary))
    }

    /// Returns whether a primary that this node writes to answered last time.
    pub(super) fn has_primary(&self) -> bool {
        self.local_primary().is_some_and(|member| member.answers())
    }

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
