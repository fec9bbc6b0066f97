//! [`Seen`], a server that has answered calls of a session.

use crate::database::{Database, WeakDatabase};
use crate::position::Position;

/// A server that answered calls, which may be gone by now, and their number. It is asked for its position only when
/// that matters: when the next read goes to another server, or the session to another node. Asking at each read would
/// cost a round trip.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(super) server: WeakDatabase,
    /// Its [`moves`](Database::moves) before the first of the calls. If others took its place since, what it tells now says
    /// nothing about the calls.
    pub(super) moves: u64,
    pub(super) calls: u64,
    /// Whether one of the calls has or may have written.
    pub(super) wrote: bool,
    /// Its position after the last of these calls, if the answer contained one.
    pub(super) position: Option<Position>,
}

impl Seen {
    pub(super) fn read(&mut self) {
        self.position = None;
        self.calls += 1;
    }

    pub(super) fn write(&mut self) {
        self.read();
        self.wrote = true;
    }

    /// Returns the server's position after the calls, if it is known.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns the server, if it still exists.
    pub(crate) fn server(&self) -> Option<Database> {
        self.server.upgrade()
    }

    /// Returns whether no other server has taken its place.
    pub(crate) fn is_still(&self, server: &Database) -> bool {
        self.server.is(server) && self.moves == server.moves()
    }
}
