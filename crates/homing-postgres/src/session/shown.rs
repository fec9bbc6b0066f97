//! What a session has read on the servers over which an address is spread.

use super::Session;
use super::seen::Seen;
use crate::database::Database;
use crate::position::shown::Shown;

impl Session {
    /// Returns the seen servers other than `local`.
    pub(crate) fn seen_elsewhere(&self, local: Option<&Database>) -> Vec<Seen> {
        self.read(|floor| {
            let elsewhere = floor.seen.iter().filter(|seen| local.is_none_or(|local| !seen.is_still(local)));
            Some(elsewhere.cloned().collect())
        })
        .unwrap_or_default()
    }

    /// Notes a read from one of the servers of an address: what that server showed by the end of the read. At its beginning the
    /// server showed everything in `before`.
    pub(crate) fn has_shown(&self, address: &Database, shown: Shown, before: &[Shown]) {
        self.note_ahead(address, Some((shown, before)));
        let mut fits = true;
        self.see(&address.downgrade(), address.moves(), |seen| fits = seen.show(shown, before));
        if !fits {
            self.has_read_primary();
        }
    }

    /// Returns the entry of an address from which the session has read.
    pub(crate) fn seen_at(&self, address: &Database) -> Option<Seen> {
        self.read(|floor| floor.seen.iter().find(|seen| seen.is_still(address)).cloned())
    }
}
