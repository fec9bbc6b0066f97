//! What failovers mean to a session: positions of earlier timelines survive, or are lost.

use super::Session;
use super::floor::Floor;
use crate::position::{Position, Timeline};

impl Session {
    /// Returns the places of earlier timelines that may have been lost in a failover.
    pub(crate) fn unproven(&self) -> Vec<Position> {
        self.read(|floor| Some(floor.unproven.clone())).unwrap_or_default()
    }

    /// Notes that these positions are in the history of a timeline. There, they have the same numbers.
    pub(crate) fn survived(&self, positions: &[Position], timeline: Timeline) {
        if positions.iter().all(|position| position.timeline >= timeline) {
            return;
        }
        self.change(|floor| {
            let of_before = |position: &Position| position.timeline < timeline && positions.contains(position);
            let mut survivors: Vec<_> = floor.unproven.extract_if(.., |unproven| of_before(unproven)).collect();
            let has_survived = floor.position.as_ref().is_some_and(of_before);
            // A history has all places before one that it has.
            let is_before = |below: &mut Position| of_before(below) || (has_survived && !below.is_by_transaction());
            survivors.extend(floor.below.extract_if(.., is_before));
            if has_survived {
                survivors.extend(floor.position.take());
                floor.behind = None;
                floor.promote_below();
            }
            for position in survivors {
                floor.raise(Position { timeline, ..position }, &[]);
            }
        });
    }

    /// Forgets positions that a primary does not have in its history. Later reads see at least what the primary has now.
    pub(crate) fn lost(&self, positions: &[Position]) {
        self.change(|floor| {
            let losses = floor.losses + 1;
            floor.unproven.retain(|unproven| !positions.contains(unproven));
            floor.below.retain(|below| !(below.is_by_transaction() && positions.contains(below)));
            if floor.position.is_some_and(|known| positions.contains(&known)) {
                let (database, unproven) = (floor.database.clone(), std::mem::take(&mut floor.unproven));
                let below = floor.below.extract_if(.., |below| below.is_by_transaction()).collect();
                let (seen, ahead) = (std::mem::take(&mut floor.seen), std::mem::take(&mut floor.ahead));
                *floor = Floor { database, below, unproven, seen, ahead, ..Floor::default() };
                floor.promote_below();
            }
            floor.losses = losses;
        });
        self.lost_track();
    }

    /// Returns how often the session has learned that positions were lost. A position that a read had to reach before may be one of
    /// them, and a server that has it may lack what the primary has now.
    pub(crate) fn losses(&self) -> u64 {
        self.read(|floor| Some(floor.losses)).unwrap_or_default()
    }
}
