//! How far a replica is behind the newest known position of the primary. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::position::Position;
use crate::position::role::Role;
use crate::position::state::ServerState;

/// The newest known position of the primary, from writes, from its answers, and from the log that replicas have
/// received.
///
/// The primary is not asked for it. So lag is measured against what this node knows: if a replica is cut off from the
/// primary, and the node hears nothing of the primary either, the replica does not seem to be behind.
///
/// Positions by transaction are compared by their ids, which is an estimate that will do.
#[derive(Debug)]
pub(super) struct Newest {
    position: Option<Position>,
    /// When the log was known to reach a position, oldest first.
    marks: VecDeque<Mark>,
    /// The shortest time between two marks.
    spacing: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    number: u64,
}

/// How far a replica is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// `None` if it is not known.
    pub(super) time: Option<Duration>,
    /// `None` if it is not known. Positions of different timelines cannot be compared.
    pub(super) bytes: Option<u64>,
}

impl Newest {
    /// Creates an empty record for a lag limit of about this time.
    pub(super) fn new(limit: Duration) -> Self {
        let spacing = (limit / MARKS_WITHIN_THE_LIMIT).clamp(MIN_SPACING, MAX_SPACING);
        Self { position: None, marks: VecDeque::new(), spacing }
    }

    /// Notes a position of the primary.
    pub(super) fn hear(&mut self, position: Position, now: Instant) {
        let Some(known) = self.position else {
            return self.start_with(position, now);
        };
        if position.system_identifier != known.system_identifier || position.timeline > known.timeline {
            return self.start_with(position, now);
        }
        if position.is_by_transaction() != known.is_by_transaction() {
            return self.start_with(position, now);
        }
        if position.timeline < known.timeline || position.number() <= known.number() {
            return;
        }
        self.position = Some(position);
        if self.marks.back().is_none_or(|last| now.saturating_duration_since(last.at) >= self.spacing) {
            if self.marks.len() == MAX_MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back(Mark { at: now, number: position.number() });
        }
    }

    /// Notes how much of the log a replica has received, or the last transaction that it shows. A replica of another cluster than
    /// the primary's is ignored.
    pub(super) fn hear_of(&mut self, state: &ServerState, now: Instant) {
        let lsn = state.received.map_or(state.position.lsn, |received| received.max(state.position.lsn));
        let position = Position { lsn, ..state.reached() };
        if self.position.is_none_or(|known| known.system_identifier == position.system_identifier) {
            self.hear(position, now);
        }
    }

    /// Starts again on a later timeline or another cluster, whose positions cannot be compared with earlier ones.
    fn start_with(&mut self, position: Position, now: Instant) {
        self.position = Some(position);
        self.marks.clear();
        self.marks.push_back(Mark { at: now, number: position.number() });
    }

    /// Returns how far a server is behind. It was last seen at the newest known position at `caught_up_at`.
    pub(super) fn behind(&self, state: &ServerState, caught_up_at: Option<Instant>, now: Instant) -> Behind {
        if state.role == Role::Primary {
            return Behind { time: Some(Duration::ZERO), bytes: Some(0) };
        }
        let Some(newest) = self.position else { return Behind::default() };
        let replayed = state.reached();
        if newest.system_identifier != replayed.system_identifier || newest.timeline < replayed.timeline {
            return Behind::default();
        }
        if newest.is_by_transaction() != replayed.is_by_transaction() {
            return Behind::default();
        }
        let same_history = newest.timeline == replayed.timeline;
        let tells_bytes = same_history && !newest.is_by_transaction();
        let (newest, replayed) = (newest.number(), replayed.number());
        if same_history && newest <= replayed {
            return Behind { time: Some(Duration::ZERO), bytes: tells_bytes.then_some(0) };
        }
        let bytes = tells_bytes.then(|| newest - replayed);
        let first_missing = self.marks.iter().find(|mark| !same_history || mark.number > replayed);
        let at_least = first_missing.map_or(Duration::ZERO, |mark| now.saturating_duration_since(mark.at));
        // The age of the last replayed commit is at least the lag. After a quiet hour it is an hour, even if the
        // replica had caught up a moment ago.
        let since_caught_up = caught_up_at.map(|at| now.saturating_duration_since(at));
        let at_most = [state.lag, since_caught_up].into_iter().flatten().min();
        Behind { time: Some(at_most.unwrap_or(at_least).max(at_least)), bytes }
    }
}

/// Marks within the lag limit, so that a lag near the limit is known to a few percent.
const MARKS_WITHIN_THE_LIMIT: u32 = 32;

/// Marks in all. Twice as many as within the limit: a replica that is farther behind is left out in any case.
const MAX_MARKS: usize = 64;

/// The bounds of the time between two marks: a short limit needs no finer marks, a long one no coarser ones.
const MIN_SPACING: Duration = Duration::from_millis(10);
const MAX_SPACING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::tests::position;

    const LIMIT: Duration = Duration::from_secs(32);

    fn replica(lsn: u64, age: Option<u64>) -> ServerState {
        let state = ServerState::new(Role::Replica, position(1, lsn));
        ServerState { lag: age.map(Duration::from_secs), ..state }
    }

    struct KnownLag {
        newest: Newest,
        start: Instant,
    }

    impl KnownLag {
        fn new(heard: &[(u64, u64)]) -> Self {
            let start = Instant::now();
            let mut newest = Newest::new(LIMIT);
            for (second, lsn) in heard {
                newest.hear(position(1, *lsn), start + Duration::from_secs(*second));
            }
            Self { newest, start }
        }

        #[track_caller]
        fn check(&self, state: ServerState, caught_up_at: Option<u64>, now: u64, expected: (Option<u64>, Option<u64>)) {
            let at = |second| self.start + Duration::from_secs(second);
            let behind = self.newest.behind(&state, caught_up_at.map(at), at(now));
            assert_eq!((behind.time.map(|time| time.as_secs()), behind.bytes), expected, "{state:?}");
        }
    }

    #[test]
    fn lag_is_unknown_without_a_position() {
        KnownLag::new(&[]).check(replica(100, Some(90)), None, 100, (None, None));
    }

    #[test]
    fn caught_up_replica_is_not_behind() {
        KnownLag::new(&[(0, 100)]).check(replica(100, Some(3600)), None, 3600, (Some(0), Some(0)));
    }

    #[test]
    fn lag_is_the_age_of_the_first_missing_position() {
        let known = KnownLag::new(&[(0, 100), (10, 200), (20, 300)]);
        known.check(replica(100, None), None, 25, (Some(15), Some(200)));
        known.check(replica(150, None), None, 25, (Some(15), Some(150)));
        known.check(replica(200, None), None, 25, (Some(5), Some(100)));
    }

    #[test]
    fn earlier_lag_shows_in_the_last_commit() {
        KnownLag::new(&[(0, 200)]).check(replica(100, Some(90)), None, 1, (Some(90), Some(100)));
    }

    #[test]
    fn commit_after_a_quiet_hour_is_no_lag() {
        let known = KnownLag::new(&[(0, 100), (3600, 200)]);
        known.check(replica(100, Some(3600)), Some(3599), 3600, (Some(1), Some(100)));
    }

    #[test]
    fn a_primary_is_never_behind() {
        let primary = ServerState::new(Role::Primary, position(1, 50));
        KnownLag::new(&[(0, 100)]).check(primary, None, 9, (Some(0), Some(0)));
    }

    #[test]
    fn old_timeline_is_behind_since_the_switch() {
        let mut known = KnownLag::new(&[(0, 100), (10, 500)]);
        known.newest.hear(position(2, 300), known.start + Duration::from_secs(20));
        known.newest.hear(position(1, 900), known.start + Duration::from_secs(21));
        known.check(replica(500, None), None, 25, (Some(5), None));
    }

    #[test]
    fn received_log_is_known_to_exist() {
        let mut known = KnownLag::new(&[(0, 100)]);
        let state = ServerState { received: Some(300.into()), ..replica(100, Some(40)) };
        known.newest.hear_of(&state, known.start);
        known.check(state, None, 1, (Some(40), Some(200)));
        let other = Position { system_identifier: 8.into(), ..position(1, 900) };
        known.newest.hear_of(&ServerState::new(Role::Replica, other), known.start);
        known.check(state, None, 1, (Some(40), Some(200)));
    }

    #[test]
    fn lag_by_transaction_is_a_time() {
        let start = Instant::now();
        let mut newest = Newest::new(LIMIT);
        for (second, transaction) in [(0, 100), (10, 200), (20, 300), (21, 250)] {
            newest.hear(Position::by_transaction(7, 1, transaction), start + Duration::from_secs(second));
        }
        let state = |next: u64| ServerState {
            next_transaction: Some(next.into()),
            ..ServerState::new(Role::Replica, position(1, 0))
        };
        for (next, seconds) in [(301, 0), (300, 5), (200, 15), (201, 5)] {
            let behind = newest.behind(&state(next), None, start + Duration::from_secs(25));
            assert_eq!((behind.time.map(|time| time.as_secs()), behind.bytes), (Some(seconds), None), "{next}");
        }
        newest.hear_of(&state(400), start + Duration::from_secs(30));
        let behind = newest.behind(&state(301), None, start + Duration::from_secs(31));
        assert_eq!(behind.time, Some(Duration::from_secs(1)), "another replica shows more");
        assert_eq!(newest.behind(&replica(100, None), None, start), Behind::default(), "its place tells nothing here");
    }

    #[test]
    fn other_clusters_are_not_compared() {
        let mut known = KnownLag::new(&[(0, 100)]);
        let other = Position { system_identifier: 8.into(), ..position(1, 9) };
        known.newest.hear(other, known.start);
        known.check(replica(50, Some(90)), None, 100, (None, None));
    }

    #[test]
    fn marks_are_bounded_and_reach_the_limit() {
        let heard: Vec<_> = (0..100_000).map(|step| (step / 100, step + 1)).collect();
        let known = KnownLag::new(&heard);
        assert!(known.newest.marks.len() <= MAX_MARKS);
        let now = 1000;
        let behind = known.newest.behind(&replica(1, None), None, known.start + Duration::from_secs(now));
        assert!(behind.time.unwrap() > LIMIT, "{behind:?}");
    }
}
