//! [`Seen`], a server that has answered calls of a session.

use crate::database::{Database, WeakDatabase};
use crate::position::Position;
use crate::position::shown::Shown;

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
    /// What the servers had shown, if the address is spread over several of them. At most [`MAX_SHOWN`].
    pub(super) shown: Vec<Shown>,
}

impl Seen {
    pub(super) fn read(&mut self) {
        self.position = None;
        self.calls += 1;
    }

    /// Notes a read from a server that showed this by its end, and `before` at its beginning. Returns false if that cannot be
    /// remembered.
    pub(super) fn show(&mut self, shown: Shown, before: &[Shown]) -> bool {
        self.calls += 1;
        self.shown.retain(|known| !before.contains(known) && !shown.includes(known));
        if !self.shown.iter().any(|known| known.includes(&shown)) {
            self.shown.push(shown);
        }
        let fits = self.shown.len() <= MAX_SHOWN;
        self.shown.truncate(MAX_SHOWN);
        fits
    }

    pub(super) fn write(&mut self) {
        self.read();
        self.wrote = true;
    }

    /// Returns the server's position after the calls, if it is known.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns what the servers of a spread address had shown.
    pub(crate) fn shown(&self) -> &[Shown] {
        &self.shown
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

/// How many servers of one address a session reads from at the same time. With more, the primary is asked for a position that
/// stands for all of them.
const MAX_SHOWN: usize = 16;
