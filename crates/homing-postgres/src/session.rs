//! What a handle has written, and so what its reads have to see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Position;

/// The position that every read has to see. Shared by the clones of a handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session(Arc<Mutex<Floor>>);

#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    position: Option<Position>,
    behind: bool,
}

/// What a read has to see, and whether a wait for it has failed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) position: Position,
    pub(crate) behind: bool,
}

impl Session {
    /// From now on, reads have to see this position too.
    pub(crate) fn advance(&self, position: Position) {
        let mut floor = self.lock();
        if floor.position.is_none_or(|known| is_after(position, known)) {
            *floor = Floor { position: Some(position), behind: floor.behind };
        }
    }

    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let floor = self.lock();
        floor.position.map(|position| Wanted { position, behind: floor.behind })
    }

    /// Whether a wait has failed and nothing has been heard of the replica since.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().behind
    }

    /// A wait for the position took too long: do not wait again at each read.
    pub(crate) fn fell_behind(&self) {
        self.lock().behind = true;
    }

    /// The replica has reached `position`.
    pub(crate) fn caught_up(&self, position: Position) {
        let mut floor = self.lock();
        if floor.position == Some(position) {
            floor.behind = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Floor> {
        // Nothing that runs under the lock panics in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Positions of another cluster or a later timeline replace what was known: they are newer writes, and no number of the
/// old history says anything about them.
fn is_after(position: Position, known: Position) -> bool {
    if position.system_identifier != known.system_identifier {
        return true;
    }
    (position.timeline, position.lsn) > (known.timeline, known.lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(system: u64, timeline: u32, lsn: u64) -> Position {
        Position { system_identifier: system.into(), timeline: timeline.into(), lsn: lsn.into() }
    }

    #[test]
    fn positions_only_go_forward() {
        let session = Session::default();
        assert_eq!(session.wanted(), None);
        for (next, expected) in [
            (at(7, 1, 100), at(7, 1, 100)),
            (at(7, 1, 90), at(7, 1, 100)),
            (at(7, 1, 110), at(7, 1, 110)),
            (at(7, 2, 50), at(7, 2, 50)),
            (at(7, 1, 500), at(7, 2, 50)),
            (at(8, 1, 1), at(8, 1, 1)),
        ] {
            session.advance(next);
            assert_eq!(session.wanted().unwrap().position, expected);
        }
    }

    #[test]
    fn being_behind_ends_with_the_position_that_was_waited_for() {
        let session = Session::default();
        session.advance(at(7, 1, 100));
        session.fell_behind();
        session.advance(at(7, 1, 200));
        session.caught_up(at(7, 1, 100));
        assert!(session.wanted().unwrap().behind);
        session.caught_up(at(7, 1, 200));
        assert!(!session.wanted().unwrap().behind);
    }
}
