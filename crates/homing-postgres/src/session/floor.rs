//! [`Floor`], what the reads of one database have to see.

use super::seen::{Seen, SeenServers};
use crate::database::WeakDatabase;
use crate::position::Position;
use crate::scope::DatabaseName;

/// The position that the reads of one database have to see.
#[derive(Debug, Clone, Default)]
pub(super) struct Floor {
    pub(super) database: DatabaseName,
    pub(super) position: Option<Position>,
    /// What a server that has reached `position` has to have reached too, of the same timeline: at most one place in the log
    /// before `position`, which does not follow if only the transaction of `position` tells; and writes whose transactions
    /// alone tell, and which overlapped that of `position`. At most [`MAX_BELOW`], and empty without a position.
    pub(super) below: Vec<Position>,
    /// The last places of earlier timelines, one of each, that are not known to be in the history of `position`, and writes by
    /// transaction of these timelines.
    pub(super) unproven: Vec<Position>,
    /// The position that a replica did not reach in time. It stays while later reads of the primary move `position` up.
    pub(super) behind: Option<Position>,
    pub(super) imported: bool,
    pub(super) offered: bool,
    pub(super) seen: SeenServers,
    /// The replicas that have answered since the primary was last known to show what they had shown.
    pub(super) ahead: SeenServers,
    /// How often positions were lost.
    pub(super) losses: u64,
}

impl Floor {
    /// Moves the floor up to this position. Returns whether it became the position of the floor. `before` are positions that
    /// had been reached on the primary before the transaction of the position was committed: a server that shows it has reached
    /// them too.
    ///
    /// A position of another cluster replaces the floor. One of another timeline cannot be compared with it: the one of the
    /// later timeline becomes the floor, and the other one is kept until it is known to be in its history.
    pub(super) fn raise(&mut self, position: Position, before: &[Position]) -> bool {
        match self.position {
            Some(known) if known.system_identifier != position.system_identifier => {
                self.unproven.clear();
                self.below.clear();
                self.behind = None;
                self.position = None;
            }
            Some(known) if known.timeline < position.timeline => {
                for known in std::mem::take(&mut self.below).into_iter().chain(self.position.take()) {
                    self.doubt(known);
                }
                self.behind = None;
            }
            Some(known) if known.timeline > position.timeline => {
                self.doubt(position);
                return false;
            }
            Some(_) | None => {}
        }
        let former = self.position;
        let mut known: Vec<_> = self.below.drain(..).chain(former).filter(|known| *known != position).collect();
        if position.transaction.is_some() {
            known.retain(|known| !before.contains(known));
        }
        if position.is_by_transaction() {
            self.below = known;
            self.position = Some(position);
        } else {
            self.raise_place(position, known);
        }
        if self.below.len() > MAX_BELOW {
            // The primary is asked for a position that stands for all of them.
            self.below.retain(|below| !below.is_by_transaction());
            self.seen.see(&WeakDatabase::default(), 0, Seen::write);
        }
        former != self.position
    }

    /// Moves the floor up to a place in the log of the same timeline.
    fn raise_place(&mut self, position: Position, known: Vec<Position>) {
        let (transactions, mut places): (Vec<_>, Vec<_>) = known.into_iter().partition(Position::is_by_transaction);
        // The last one is the highest.
        let at = places.iter().position(|known| position.lsn <= known.lsn).unwrap_or(places.len());
        places.insert(at, position);
        let upper = places.pop();
        // By its place alone, the upper position includes the lower ones. By its transaction it may not.
        let below = places.pop().filter(|_| upper.is_some_and(|upper| upper.transaction.is_some()));
        self.below = transactions.into_iter().chain(below.map(|below| below.with_transaction(None))).collect();
        self.position = upper;
    }

    /// Keeps a position of an earlier timeline. Of a place, only the place counts.
    fn doubt(&mut self, position: Position) {
        if position.is_by_transaction() {
            if !self.unproven.contains(&position) {
                self.unproven.push(position);
            }
            return;
        }
        let is_place_of = |known: &&mut Position| known.timeline == position.timeline && !known.is_by_transaction();
        match self.unproven.iter_mut().find(is_place_of) {
            Some(unproven) => unproven.lsn = unproven.lsn.max(position.lsn),
            None => self.unproven.push(position.with_transaction(None)),
        }
    }

    /// Makes one of the positions below that of the floor, if it has none.
    pub(super) fn promote_below(&mut self) {
        if self.position.is_none() {
            self.position = self.below.pop();
        }
    }
}

/// How many positions a floor has besides its own: enough for the calls that one request makes at the same time. With more,
/// the next read asks the primary for a position, which costs a round trip.
const MAX_BELOW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn by(transaction: u64) -> Position {
        Position::by_transaction(7, 1, transaction)
    }

    fn place(lsn: u64, transaction: Option<u64>) -> Position {
        Position::new(7, 1, lsn).with_transaction(transaction.map(Into::into))
    }

    /// Returns all that a server has to have reached.
    fn all(floor: &Floor) -> Vec<Position> {
        floor.below.iter().chain(&floor.position).copied().collect()
    }

    #[test]
    fn write_stands_for_what_was_before_it() {
        let mut floor = Floor::default();
        floor.raise(by(900), &[]);
        // Two calls at the same time: neither stands for the other.
        let before = all(&floor);
        assert!(floor.raise(by(902), &before) && floor.raise(by(901), &before));
        assert_eq!(all(&floor), [by(902), by(901)]);
        assert!(!floor.raise(by(901), &before));
        assert_eq!(all(&floor), [by(902), by(901)]);
        let before = all(&floor);
        floor.raise(by(950), &[]);
        floor.raise(by(903), &before);
        assert_eq!(all(&floor), [by(950), by(903)]);
        floor.raise(by(960), &all(&floor));
        assert_eq!(all(&floor), [by(960)]);
    }

    #[test]
    fn many_writes_at_once_ask_the_primary() {
        let mut floor = Floor::default();
        for transaction in 0..=MAX_BELOW as u64 {
            floor.raise(by(transaction), &[]);
        }
        assert_eq!((all(&floor).len(), floor.seen.iter().count()), (MAX_BELOW + 1, 0));
        floor.raise(by(1000), &[]);
        assert_eq!(all(&floor), [by(1000)]);
        assert_eq!(floor.seen.iter().map(|seen| seen.wrote).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn places_and_transactions_are_kept_apart() {
        let mut floor = Floor::default();
        floor.raise(by(900), &[]);
        floor.raise(place(100, None), &[]);
        assert_eq!(all(&floor), [by(900), place(100, None)]);
        floor.raise(place(120, Some(901)), &[by(900)]);
        assert_eq!(all(&floor), [place(100, None), place(120, Some(901))]);
        floor.raise(by(902), &[]);
        assert_eq!(all(&floor), [place(100, None), place(120, Some(901)), by(902)]);
        let before = all(&floor);
        floor.raise(place(140, Some(904)), &before);
        assert_eq!(all(&floor), [place(140, Some(904))], "its commit is after the places too");
    }
}
