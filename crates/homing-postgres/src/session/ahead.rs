//! What replicas have shown to a session, and the primary may not show yet.

use super::Session;
use super::seen::Seen;
use crate::database::{Database, WeakDatabase};
use crate::position::role::Role;
use crate::position::shown::Shown;

impl Session {
    /// Returns the servers that may have shown more than the primary does. One that does not exist stands for the replicas of the
    /// node from which a position came.
    pub(crate) fn ahead(&self) -> Vec<Seen> {
        self.read(|floor| Some(floor.ahead.iter().cloned().collect())).unwrap_or_default()
    }

    /// Notes that the primary shows what this server had shown by then.
    pub(crate) fn primary_shows(&self, seen: &Seen) {
        self.change(|floor| floor.ahead.settle(seen));
    }

    /// Notes a read from a server. If its address is spread over several ones, this one showed `shown` by the end of the read.
    pub(super) fn note_ahead(&self, server: &Database, shown: Option<(Shown, &[Shown])>) {
        if server.role() == Some(Role::Primary) {
            return;
        }
        let note = |seen: &mut Seen| {
            if let Some((shown, before)) = shown {
                seen.show(shown, before);
            }
        };
        self.change(|floor| floor.ahead.see(&server.downgrade(), server.moves(), note));
    }

    /// Notes a position of another node, which may come from a read of a replica there.
    pub(super) fn note_imported(&self) {
        self.change(|floor| floor.ahead.see(&WeakDatabase::default(), 0, |_| {}));
    }
}

impl Seen {
    /// Returns whether the position came from another node.
    pub(crate) fn is_imported(&self) -> bool {
        self.server.is_same(&WeakDatabase::default())
    }
}
