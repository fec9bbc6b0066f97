//! [`Floor`], what the reads of one database have to see.

use super::seen::Seen;
use crate::position::Position;
use crate::scope::DatabaseName;

/// The position that the reads of one database have to see.
#[derive(Debug, Clone, Default)]
pub(super) struct Floor {
    pub(super) database: DatabaseName,
    pub(super) position: Option<Position>,
    /// A place before `position`, without a transaction, that a server which has reached `position` by its transaction has to
    /// have reached too.
    pub(super) below: Option<Position>,
    /// The last places of earlier timelines, one of each, that are not known to be in the history of `position`.
    pub(super) unproven: Vec<Position>,
    /// The position that a replica did not reach in time. It stays while later reads of the primary move `position` up.
    pub(super) behind: Option<Position>,
    pub(super) imported: bool,
    pub(super) offered: bool,
    pub(super) seen: Vec<Seen>,
}

impl Floor {
    /// Moves the floor up to this position. Returns whether it became the position of the floor.
    ///
    /// A position of another cluster replaces the floor. One of another timeline cannot be compared with it: the one of the
    /// later timeline becomes the floor, and the other one is kept until it is known to be in its history.
    pub(super) fn raise(&mut self, position: Position) -> bool {
        match self.position {
            Some(known) if known.system_identifier != position.system_identifier => {
                self.unproven.clear();
                self.behind = None;
            }
            Some(known) if known.timeline < position.timeline => {
                self.doubt(known);
                self.behind = None;
            }
            Some(known) if known.timeline > position.timeline => {
                self.doubt(position);
                return false;
            }
            Some(_) | None => {}
        }
        let before = self.position;
        let (upper, lower) = match before {
            Some(known) if is_same_history(position, known) && position.lsn <= known.lsn => (known, Some(position)),
            known => (position, known),
        };
        self.position = Some(upper);
        // By its place alone, the upper position includes the lower one. By its transaction it may not.
        let below = [self.below, lower].into_iter().flatten().filter(|below| *below != upper);
        let below = below.filter(|below| upper.transaction.is_some() && is_same_history(*below, upper));
        self.below = below.map(|below| below.with_transaction(None)).max_by_key(|below| below.lsn);
        before != self.position
    }

    /// Keeps a position of an earlier timeline, where only its place counts.
    fn doubt(&mut self, position: Position) {
        match self.unproven.iter_mut().find(|unproven| unproven.timeline == position.timeline) {
            Some(unproven) => unproven.lsn = unproven.lsn.max(position.lsn),
            None => self.unproven.push(position.with_transaction(None)),
        }
    }
}

/// Tells whether two positions are of the same cluster and timeline.
fn is_same_history(one: Position, other: Position) -> bool {
    (one.system_identifier, one.timeline) == (other.system_identifier, other.timeline)
}
