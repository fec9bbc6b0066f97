//! [`Waiters`], who waits for what, in the order in which they will be answered.

use std::collections::BTreeMap;
use std::ops::Bound;

use tokio::time::Instant;

use crate::position::lsn::Lsn;
use crate::position::state::{ServerState, Verdict};
use crate::position::{Position, SystemIdentifier, Timeline};

/// Who waits for what. Pure: `A` is whatever answers a waiter.
///
/// Sorted by history and then by log sequence number, so that each look at the server touches only those who can be
/// answered, and a waiter who leaves is found at once.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    entries: BTreeMap<WaiterKey, WaiterEntry<A>>,
    next_id: u64,
}

/// The place of one waiter. Keys are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterKey {
    history: TimelineId,
    lsn: Lsn,
    id: u64,
}

type TimelineId = (SystemIdentifier, Timeline);

#[derive(Debug)]
struct WaiterEntry<A> {
    since: Instant,
    /// How many looks had begun by then.
    looks: u64,
    answer: A,
}

/// Of those who come next, one in each history, the one who came last: nobody's answer is nearer than theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// When they came.
    pub(super) since: Instant,

    /// Whether no look has begun since then.
    pub(super) is_new: bool,
}

/// Those who were answered by a look.
#[derive(Debug)]
pub(super) struct AnsweredWaiters<A> {
    pub(super) verdicts: Vec<(A, Verdict)>,

    /// When the first of those came whose position is reached.
    pub(super) oldest_reached: Option<Instant>,
}

impl<A> Waiters<A> {
    /// Adds one who came `now`, after `looks` looks have begun.
    pub(super) fn insert(&mut self, position: Position, now: Instant, looks: u64, answer: A) -> WaiterKey {
        let key =
            WaiterKey { history: (position.system_identifier, position.timeline), lsn: position.lsn, id: self.next_id };
        self.next_id += 1;
        self.entries.insert(key, WaiterEntry { since: now, looks, answer });
        key
    }

    /// Takes one out, if not answered yet.
    pub(super) fn remove(&mut self, key: WaiterKey) {
        self.entries.remove(&key);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// See [`Front`]. `None` when nobody waits.
    pub(super) fn front(&self, looks: u64) -> Option<Front> {
        let fronts = self.histories().map(|(_, entry)| Front { since: entry.since, is_new: entry.looks == looks });
        fronts.max_by_key(|front| (front.is_new, front.since))
    }

    /// The highest timeline of the cluster that anybody waits for.
    pub(super) fn newest_timeline(&self, system: SystemIdentifier) -> Option<Timeline> {
        let histories = self.histories().map(|(key, _)| key.history);
        histories.filter(|history| history.0 == system).map(|history| history.1).max()
    }

    /// Takes out those whom the state answers that the look of this number brought. Who came after it had begun
    /// only takes a positive answer from it: what was reached stays reached, anything else may have changed.
    pub(super) fn answer(&mut self, look: u64, state: &ServerState) -> AnsweredWaiters<A> {
        let mut answered = AnsweredWaiters { verdicts: Vec::new(), oldest_reached: None };
        for (key, verdict) in self.answerable(look, state) {
            let Some(entry) = self.entries.remove(&key) else { continue };
            if verdict == Verdict::Reached {
                let oldest = answered.oldest_reached.get_or_insert(entry.since);
                *oldest = entry.since.min(*oldest);
            }
            answered.verdicts.push((entry.answer, verdict));
        }
        answered
    }

    fn answerable(&self, look: u64, state: &ServerState) -> Vec<(WaiterKey, Verdict)> {
        let mut answerable = Vec::new();
        for (first, _) in self.histories() {
            for (key, entry) in self.entries.range(*first..) {
                let verdict = if key.history == first.history { state.compare(key.position()) } else { break };
                match verdict {
                    Verdict::NotYet => break, // and so for all later ones of this history
                    Verdict::Reached => answerable.push((*key, verdict)),
                    _ if entry.looks < look => answerable.push((*key, verdict)),
                    _ => {}
                }
            }
        }
        answerable
    }

    /// The first waiter of each history.
    fn histories(&self) -> impl Iterator<Item = (&WaiterKey, &WaiterEntry<A>)> {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (key, entry) = self.entries.range((after, Bound::Unbounded)).next()?;
            after = Bound::Excluded(WaiterKey { history: key.history, lsn: Lsn::from(u64::MAX), id: u64::MAX });
            Some((key, entry))
        })
    }
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next_id: 0 }
    }
}

impl WaiterKey {
    fn position(&self) -> Position {
        let (system_identifier, timeline) = self.history;
        Position { system_identifier, timeline, lsn: self.lsn }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::position::role::Role;

    fn position(timeline: u32, lsn: u64) -> Position {
        Position { system_identifier: 7.into(), timeline: timeline.into(), lsn: lsn.into() }
    }

    fn replica(timeline: u32, lsn: u64) -> ServerState {
        ServerState::new(Role::Replica, position(timeline, lsn))
    }

    fn at(millis: u64) -> Instant {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *START + Duration::from_millis(millis)
    }

    #[test]
    fn answers_in_order_those_who_are_reached() {
        let mut waiters = Waiters::default();
        for lsn in [30, 10, 20, 10] {
            waiters.insert(position(1, lsn), at(lsn), 0, lsn);
        }
        let answered = waiters.answer(1, &replica(1, 20));
        assert_eq!(answered.verdicts, [10, 10, 20].map(|lsn| (lsn, Verdict::Reached)));
        assert_eq!(answered.oldest_reached, Some(at(10)));
        assert_eq!(waiters.len(), 1);
        assert!(waiters.answer(2, &replica(1, 29)).verdicts.is_empty());
        assert_eq!(waiters.answer(3, &replica(1, 30)).verdicts, [(30, Verdict::Reached)]);
        assert_eq!(waiters.front(3), None);
    }

    #[test]
    fn late_comer_takes_only_a_positive_answer_from_a_look_under_way() {
        let mut waiters = Waiters::default();
        waiters.insert(position(1, 10), at(0), 0, "lost");
        waiters.insert(position(1, 10), at(0), 1, "lost, late");
        waiters.insert(position(2, 10), at(0), 1, "reached, late");
        let answered = waiters.answer(1, &replica(2, 10));
        assert_eq!(answered.verdicts, [("lost", Verdict::OtherTimeline), ("reached, late", Verdict::Reached)]);
        assert_eq!(waiters.front(1), Some(Front { since: at(0), is_new: true }));
        assert_eq!(waiters.answer(2, &replica(2, 10)).verdicts, [("lost, late", Verdict::OtherTimeline)]);
    }

    #[test]
    fn each_history_is_answered_for_itself() {
        let mut waiters = Waiters::default();
        let elsewhere = Position { system_identifier: 8.into(), ..position(1, 1) };
        for wanted in [position(1, 50), position(2, 50), position(2, 60), position(3, 50), elsewhere] {
            waiters.insert(wanted, at(0), 0, wanted);
        }
        assert_eq!(waiters.newest_timeline(7.into()), Some(3.into()));
        assert_eq!(waiters.newest_timeline(9.into()), None);
        assert_eq!(
            waiters.answer(1, &replica(2, 55)).verdicts,
            [
                (position(1, 50), Verdict::OtherTimeline),
                (position(2, 50), Verdict::Reached),
                (elsewhere, Verdict::OtherSystem),
            ]
        );
        assert_eq!(waiters.len(), 2);
    }

    #[test]
    fn front_is_whoever_is_new_or_came_last_among_the_first() {
        let mut waiters = Waiters::default();
        let first = waiters.insert(position(1, 10), at(1), 0, ());
        waiters.insert(position(1, 20), at(9), 0, ());
        assert_eq!(waiters.front(0), Some(Front { since: at(1), is_new: true }));
        assert_eq!(waiters.front(1), Some(Front { since: at(1), is_new: false }));
        waiters.insert(position(2, 20), at(5), 0, ());
        assert_eq!(waiters.front(1), Some(Front { since: at(5), is_new: false }));
        let second = waiters.insert(position(1, 5), at(2), 1, ());
        assert_eq!(waiters.front(1), Some(Front { since: at(2), is_new: true }));
        waiters.remove(first);
        waiters.remove(second);
        assert_eq!(waiters.front(1), Some(Front { since: at(9), is_new: false }));
        waiters.remove(second);
        assert_eq!(waiters.len(), 2);
    }
}
