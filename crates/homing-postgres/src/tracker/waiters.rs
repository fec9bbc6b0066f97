//! [`Waiters`], the waiting calls in the order in which they will be answered.

use std::collections::BTreeMap;
use std::ops::Bound;

use tokio::time::Instant;

use crate::position::lsn::Lsn;
use crate::position::state::{ServerState, Verdict};
use crate::position::{Position, SystemIdentifier, Timeline};

/// The waiting calls, each with its position. Does no IO; `A` is the handle that answers a waiter.
///
/// Waiters are sorted by timeline and then by log sequence number. So a probe visits only the waiters that it can
/// answer, and a waiter that gives up is found at once.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    entries: BTreeMap<WaiterKey, WaiterEntry<A>>,
    next_id: u64,
}

/// The place of one waiter. No key is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterKey {
    timeline: TimelineId,
    lsn: Lsn,
    id: u64,
}

type TimelineId = (SystemIdentifier, Timeline);

#[derive(Debug)]
struct WaiterEntry<A> {
    since: Instant,
    /// How many probes had begun when the waiter came.
    probes: u64,
    answer: A,
}

/// The waiter whose answer is nearest: of the first waiters of each timeline, the one that came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// When the waiter came.
    pub(super) since: Instant,

    /// Whether no probe has begun since.
    pub(super) is_new: bool,
}

/// The waiters that one probe answers.
#[derive(Debug)]
pub(super) struct AnsweredWaiters<A> {
    pub(super) verdicts: Vec<(A, Verdict)>,

    /// When the first of the waiters came whose position is reached.
    pub(super) oldest_reached: Option<Instant>,
}

impl<A> Waiters<A> {
    /// Adds a waiter that comes `now`, after `probes` probes have begun.
    pub(super) fn insert(&mut self, position: Position, now: Instant, probes: u64, answer: A) -> WaiterKey {
        let timeline = (position.system_identifier, position.timeline);
        let key = WaiterKey { timeline, lsn: position.lsn, id: self.next_id };
        self.next_id += 1;
        self.entries.insert(key, WaiterEntry { since: now, probes, answer });
        key
    }

    /// Removes a waiter, unless it was answered already.
    pub(super) fn remove(&mut self, key: WaiterKey) {
        self.entries.remove(&key);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the [`Front`]. `None` if there are no waiters.
    pub(super) fn front(&self, probes: u64) -> Option<Front> {
        let fronts = self.timelines().map(|(_, entry)| Front { since: entry.since, is_new: entry.probes == probes });
        fronts.max_by_key(|front| (front.is_new, front.since))
    }

    /// Returns the highest timeline of the cluster among the awaited positions.
    pub(super) fn newest_timeline(&self, system: SystemIdentifier) -> Option<Timeline> {
        let timelines = self.timelines().map(|(key, _)| key.timeline);
        timelines.filter(|timeline| timeline.0 == system).map(|timeline| timeline.1).max()
    }

    /// Removes the waiters that this probe's state answers. A waiter that came after the probe had begun only takes a
    /// positive answer: a reached position stays reached, but any other verdict may have changed since.
    pub(super) fn answer(&mut self, probe: u64, state: &ServerState) -> AnsweredWaiters<A> {
        let mut answered = AnsweredWaiters { verdicts: Vec::new(), oldest_reached: None };
        for (key, verdict) in self.answerable(probe, state) {
            let Some(entry) = self.entries.remove(&key) else { continue };
            if verdict == Verdict::Reached {
                let oldest = answered.oldest_reached.get_or_insert(entry.since);
                *oldest = entry.since.min(*oldest);
            }
            answered.verdicts.push((entry.answer, verdict));
        }
        answered
    }

    fn answerable(&self, probe: u64, state: &ServerState) -> Vec<(WaiterKey, Verdict)> {
        let mut answerable = Vec::new();
        for (first, _) in self.timelines() {
            for (key, entry) in self.entries.range(*first..) {
                let verdict = if key.timeline == first.timeline { state.compare(key.position()) } else { break };
                match verdict {
                    Verdict::NotYet => break, // and so for all later ones of this timeline
                    Verdict::Reached => answerable.push((*key, verdict)),
                    _ if entry.probes < probe => answerable.push((*key, verdict)),
                    _ => {}
                }
            }
        }
        answerable
    }

    /// Returns the first waiter of each timeline.
    fn timelines(&self) -> impl Iterator<Item = (&WaiterKey, &WaiterEntry<A>)> {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (key, entry) = self.entries.range((after, Bound::Unbounded)).next()?;
            after = Bound::Excluded(WaiterKey { timeline: key.timeline, lsn: Lsn::from(u64::MAX), id: u64::MAX });
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
        let (system_identifier, timeline) = self.timeline;
        Position::new(system_identifier, timeline, self.lsn)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::position::state::tests::replica;
    use crate::position::tests::position;

    fn at(millis: u64) -> Instant {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *START + Duration::from_millis(millis)
    }

    #[test]
    fn reached_waiters_are_answered_in_order() {
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
    fn late_waiter_takes_only_positive_answers() {
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
    fn timelines_are_answered_separately() {
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
    fn front_is_the_newest_of_the_first() {
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
