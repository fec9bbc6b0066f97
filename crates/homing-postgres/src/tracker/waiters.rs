//! [`Waiters`], the waiting calls in the order in which they will be answered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use tokio::time::Instant;

use crate::position::lsn::Lsn;
use crate::position::state::{ServerState, Verdict};
use crate::position::transaction_id::TransactionId;
use crate::position::{Position, SystemIdentifier, Timeline};

/// The waiting calls, each with its position. Does no IO; `A` is the handle that answers a waiter.
///
/// Waiters are sorted by timeline and then by log sequence number; those whose position is by transaction alone are apart,
/// sorted by its id. So a probe visits only the waiters that it can answer, and a waiter that gives up is found at once.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    entries: BTreeMap<WaiterKey, WaiterEntry<A>>,
    next_id: u64,
}

/// The place of one waiter. No key is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterKey {
    timeline: TimelineId,
    is_by_transaction: bool,
    /// The log sequence number, or the id of the transaction.
    number: u64,
    id: u64,
}

type TimelineId = (SystemIdentifier, Timeline);

#[derive(Debug)]
struct WaiterEntry<A> {
    since: Instant,
    /// How many probes had begun when the waiter came.
    probes: u64,
    transaction: Option<TransactionId>,
    answer: A,
}

/// What the waiters of one cluster want to know.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The highest timeline among the awaited positions.
    pub(super) newest_timeline: Option<Timeline>,

    /// The transactions of the first waiters.
    pub(super) transactions: Vec<TransactionId>,
}

/// What a probe has found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: ServerState,

    /// Those of the wanted transactions that are visible on the server. If the timeline of the state is certain, they are
    /// transactions of that timeline.
    pub(super) visible: BTreeSet<TransactionId>,
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

    /// Those of the reached positions that are by transaction alone: only the transaction tells that they are reached.
    pub(super) shown: Vec<Position>,
}

impl<A> Waiters<A> {
    /// Adds a waiter that comes `now`, after `probes` probes have begun.
    pub(super) fn insert(&mut self, position: Position, now: Instant, probes: u64, answer: A) -> WaiterKey {
        let timeline = (position.system_identifier, position.timeline);
        let (is_by_transaction, number) = (position.is_by_transaction(), position.number());
        let key = WaiterKey { timeline, is_by_transaction, number, id: self.next_id };
        self.next_id += 1;
        self.entries.insert(key, WaiterEntry { since: now, probes, transaction: position.transaction, answer });
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

    /// Returns what the waiters of the cluster want to know.
    pub(super) fn wanted(&self, system: SystemIdentifier) -> Wanted {
        let timelines = self.timelines().map(|(key, _)| key.timeline);
        let newest_timeline = timelines.filter(|timeline| timeline.0 == system).map(|timeline| timeline.1).max();
        let of_cluster = self.entries.iter().filter(|(key, _)| key.timeline.0 == system);
        let transactions = of_cluster.filter_map(|(_, entry)| entry.transaction).take(MAX_TRANSACTIONS).collect();
        Wanted { newest_timeline, transactions }
    }

    /// Removes the waiters that this probe answers. A waiter that came after the probe had begun only takes a positive
    /// answer: a reached position stays reached, but any other verdict may have changed since.
    pub(super) fn answer(&mut self, probe: u64, found: &Found) -> AnsweredWaiters<A> {
        let mut answered = AnsweredWaiters { verdicts: Vec::new(), oldest_reached: None, shown: Vec::new() };
        for (key, verdict) in self.answerable(probe, found) {
            let Some(entry) = self.entries.remove(&key) else { continue };
            if verdict == Verdict::Reached {
                let oldest = answered.oldest_reached.get_or_insert(entry.since);
                *oldest = entry.since.min(*oldest);
                answered.shown.extend(key.is_by_transaction.then(|| key.position(entry.transaction)));
            }
            answered.verdicts.push((entry.answer, verdict));
        }
        answered
    }

    fn answerable(&self, probe: u64, found: &Found) -> Vec<(WaiterKey, Verdict)> {
        let mut answerable = Vec::new();
        for (first, _) in self.timelines() {
            // If one is not reached by its place, all later ones of its timeline are not. By transaction they may be: commits
            // are not in the order of ids.
            let mut left = if found.visible.is_empty() { 0 } else { MAX_TRANSACTIONS };
            for (key, entry) in self.entries.range(*first..).take_while(|(key, _)| key.has_kind_of(*first)) {
                let position = key.position(entry.transaction);
                match found.state.compare(position) {
                    Verdict::NotYet | Verdict::OtherTimeline if found.shows(position) => {
                        answerable.push((*key, Verdict::Reached));
                    }
                    Verdict::NotYet if left == 0 => break,
                    Verdict::NotYet => left -= 1,
                    verdict if verdict == Verdict::Reached || entry.probes < probe => answerable.push((*key, verdict)),
                    _ => {}
                }
            }
        }
        answerable
    }

    /// Returns the first waiter of each timeline and kind of position.
    fn timelines(&self) -> impl Iterator<Item = (&WaiterKey, &WaiterEntry<A>)> {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (key, entry) = self.entries.range((after, Bound::Unbounded)).next()?;
            after = Bound::Excluded(WaiterKey { number: u64::MAX, id: u64::MAX, ..*key });
            Some((key, entry))
        })
    }
}

impl Found {
    /// Returns whether the transaction of this position is visible on the server. After a failover, transaction ids are used
    /// again, so an answer about one timeline says nothing about another, except for the ids that were used before.
    pub(super) fn shows(&self, wanted: Position) -> bool {
        let Position { system_identifier, timeline, .. } = self.state.position;
        let is_same_history = (wanted.system_identifier, wanted.timeline) == (system_identifier, timeline);
        (is_same_history || self.state.keeps_transactions_of(wanted))
            && !self.state.in_doubt
            && wanted.transaction.is_some_and(|transaction| self.visible.contains(&transaction))
    }
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next_id: 0 }
    }
}

impl WaiterKey {
    fn position(&self, transaction: Option<TransactionId>) -> Position {
        let (system_identifier, timeline) = self.timeline;
        let lsn = if self.is_by_transaction { Lsn::INVALID } else { Lsn::from(self.number) };
        Position::new(system_identifier, timeline, lsn).with_transaction(transaction)
    }

    fn has_kind_of(&self, other: Self) -> bool {
        (self.timeline, self.is_by_transaction) == (other.timeline, other.is_by_transaction)
    }
}

/// How many transactions one probe asks about: enough for a busy node, and no more than a millisecond for the server.
const MAX_TRANSACTIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::position::state::{Ancestor, tests};
    use crate::position::tests::position;

    /// A replica that is at this place.
    fn replica(timeline: u32, lsn: u64) -> Found {
        Found { state: tests::replica(timeline, lsn), visible: BTreeSet::new() }
    }

    /// A replica that is at this place, and shows these transactions.
    fn showing(timeline: u32, lsn: u64, visible: &[u64]) -> Found {
        Found { visible: visible.iter().copied().map(TransactionId::from).collect(), ..replica(timeline, lsn) }
    }

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
        assert_eq!(waiters.wanted(7.into()).newest_timeline, Some(3.into()));
        assert_eq!(waiters.wanted(9.into()).newest_timeline, None);
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
    fn visible_transaction_answers_its_waiter() {
        let mut waiters = Waiters::default();
        let write = |timeline, lsn, transaction: u64| {
            position(timeline, lsn).with_transaction(TransactionId::from(transaction))
        };
        for wanted in [position(1, 20), write(1, 30, 900), write(1, 40, 901), write(1, 50, 902), write(2, 50, 903)] {
            waiters.insert(wanted, at(0), 0, wanted);
        }
        let asked: Vec<u64> = waiters.wanted(7.into()).transactions.into_iter().map(u64::from).collect();
        assert_eq!(asked, [900, 901, 902, 903]);
        assert!(waiters.wanted(8.into()).transactions.is_empty());
        let answered = waiters.answer(1, &showing(1, 10, &[901, 902, 903]));
        assert_eq!(answered.verdicts, [write(1, 40, 901), write(1, 50, 902)].map(|wanted| (wanted, Verdict::Reached)));

        let in_doubt = showing(1, 10, &[900]);
        let in_doubt = Found { state: ServerState { in_doubt: true, ..in_doubt.state }, ..in_doubt };
        assert!(waiters.answer(2, &in_doubt).verdicts.is_empty());
        let lost = waiters.answer(3, &showing(2, 10, &[900, 903])).verdicts;
        let verdicts: Vec<_> =
            lost.into_iter().map(|(wanted, verdict)| (wanted.transaction.map(u64::from), verdict)).collect();
        let other = Verdict::OtherTimeline;
        assert_eq!(verdicts, [(None, other), (Some(900), other), (Some(903), Verdict::Reached)]);
    }

    #[test]
    fn ids_alone_answer_their_waiters() {
        let mut waiters = Waiters::default();
        let write = |timeline: u32, transaction: u64| Position::by_transaction(7, timeline, transaction);
        for wanted in [write(1, 902), write(1, 900), position(1, 10), write(1, 901), position(1, 30), write(2, 900)] {
            waiters.insert(wanted, at(0), 0, wanted);
        }
        let asked: Vec<u64> = waiters.wanted(7.into()).transactions.into_iter().map(u64::from).collect();
        assert_eq!(asked, [900, 901, 902, 900]);
        // Those that are not shown hide no place that is reached.
        assert_eq!(waiters.answer(1, &replica(1, 10)).verdicts, [(position(1, 10), Verdict::Reached)]);
        // Commits are not in the order of ids.
        let answered = waiters.answer(2, &showing(1, 10, &[901, 902]));
        assert_eq!(answered.verdicts, [write(1, 901), write(1, 902)].map(|wanted| (wanted, Verdict::Reached)));
        assert_eq!(answered.shown, [write(1, 901), write(1, 902)]);
        // On another timeline the id may be that of another transaction, unless it was used before.
        let moved = showing(2, 0, &[900]);
        let ancestor =
            |next: u64| Some(Ancestor { timeline: 1.into(), lsn: Lsn::INVALID, next_transaction: Some(next.into()) });
        let kept =
            Found { state: ServerState { ancestor: ancestor(901), ..moved.state }, visible: moved.visible.clone() };
        let lost = Found { state: ServerState { ancestor: ancestor(900), ..moved.state }, ..moved };
        let mut others = Waiters::default();
        others.insert(write(1, 900), at(0), 0, write(1, 900));
        assert_eq!(others.answer(3, &lost).verdicts, [(write(1, 900), Verdict::OtherTimeline)]);
        let verdicts = waiters.answer(3, &kept).verdicts;
        let place = (position(1, 30), Verdict::OtherTimeline);
        assert_eq!(verdicts, [place, (write(1, 900), Verdict::Reached), (write(2, 900), Verdict::Reached)]);
    }

    #[test]
    fn probe_asks_about_few_transactions() {
        let mut waiters = Waiters::default();
        let many = u64::try_from(MAX_TRANSACTIONS).unwrap() + 10;
        for number in 1..=many {
            waiters.insert(position(1, 100).with_transaction(TransactionId::from(number)), at(0), 0, number);
        }
        assert_eq!(waiters.wanted(7.into()).transactions.len(), MAX_TRANSACTIONS);
        assert_eq!(waiters.answer(1, &showing(1, 10, &[1, 1000])).verdicts.len(), 2);
        assert_eq!(waiters.len(), usize::try_from(many).unwrap() - 2);
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
