//! [`Earlier`], what a session had before a request was sent.

use super::Session;
use super::seen::Seen;
use crate::position::Position;

/// What a session had before a request was sent.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// The servers that it had read from.
    pub(crate) seen: Vec<Seen>,
    pub(crate) positions: Vec<Position>,
}

impl Session {
    /// Returns what the session has now, before a request is sent.
    pub(crate) fn earlier(&self) -> Earlier {
        Earlier { seen: self.seen_elsewhere(None), positions: self.positions() }
    }

    /// Moves the floor up to the position of a request, which covers what the session had before it: the log of no server is ahead
    /// of that of the primary.
    pub(crate) fn settle_all(&self, earlier: &Earlier, position: Position) {
        earlier.seen.iter().for_each(|seen| self.settle(seen, &earlier.positions, position));
    }
}
