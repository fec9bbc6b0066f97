//! [`Seen`], a server that has answered calls of a session, and [`SeenServers`].

use crate::database::{Database, WeakDatabase};
use crate::position::Position;
use crate::position::shown::Shown;

/// A server that answered calls, which may be gone by now, and the last of them. It is asked for its position only when
/// that matters: when the next read goes to another server, or the session to another node. Asking at each read would
/// cost a round trip.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(super) server: WeakDatabase,
    /// Its [`moves`](Database::moves) before the first of the calls. If others took its place since, what it tells now says
    /// nothing about the calls.
    pub(super) moves: u64,
    /// The number of the last of the calls. No other call of the session has it, on whichever server: if it is the same as
    /// before, there were no calls in between.
    pub(super) last_call: u64,
    /// Whether one of the calls has or may have written.
    pub(super) wrote: bool,
    /// Its position after the last of these calls, if the answer contained one.
    pub(super) position: Option<Position>,
    /// What the servers had shown, if the address is spread over several of them. At most [`MAX_SHOWN`].
    pub(super) shown: Vec<Shown>,
}

/// The servers that have answered calls of a session since they were last asked for their positions.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenServers {
    servers: Vec<Seen>,
    /// How many calls were noted. A number that was given is never given again, even if its server was removed.
    calls: u64,
}

impl SeenServers {
    /// Notes a call on a server, which `change` describes. Before a server's first call, its `last_call` is zero.
    pub(super) fn see(&mut self, server: &WeakDatabase, moves: u64, change: impl FnOnce(&mut Seen)) {
        let known = self.servers.iter().position(|seen| seen.server.is_same(server));
        let index = known.unwrap_or_else(|| {
            let server = server.clone();
            self.servers.push(Seen { server, moves, last_call: 0, wrote: false, position: None, shown: Vec::new() });
            self.servers.len() - 1
        });
        let seen = &mut self.servers[index];
        change(seen);
        self.calls += 1;
        seen.last_call = self.calls;
    }

    /// Removes a server whose position is known now, unless it has answered another call since `asked`.
    pub(super) fn settle(&mut self, asked: &Seen) {
        self.servers.retain(|seen| !(seen.server.is_same(&asked.server) && seen.last_call == asked.last_call));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.servers.iter()
    }
}

impl Seen {
    pub(super) fn read(&mut self) {
        self.position = None;
    }

    /// Notes a read from a server that showed this by its end, and `before` at its beginning. Returns false if that cannot be
    /// remembered.
    pub(super) fn show(&mut self, shown: Shown, before: &[Shown]) -> bool {
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

    /// Returns whether one of the calls has or may have written.
    pub(crate) fn has_written(&self) -> bool {
        self.wrote
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
