//! [`History`] derives a server's timeline from all of its answers on one connection.

use std::time::Duration;

use tokio::time::Instant;

use super::probe::{Evidence, ProbeAnswer};
use crate::position::kind::PositionKind;
use crate::position::lsn::Lsn;
use crate::position::role::Role;
use crate::position::state::{Ancestor, ServerState};
use crate::position::transaction_id::TransactionId;
use crate::position::{Position, SystemIdentifier, Timeline};

/// The timelines of one server. Does no IO; takes the server's answers and their times as arguments.
///
/// A history belongs to one connection, since a restarted server may have another history.
///
/// A primary knows its timeline. A replica shows the timeline that it is streaming, but only to members of
/// `pg_monitor`. For other roles, its control file shows on which timeline it was some time ago. That timeline is
/// trusted until there is a sign that it may have changed. From then on only proven positions count as reached, until
/// the files prove more.
#[derive(Debug)]
pub(super) struct History {
    system: SystemIdentifier,
    /// The last place where the server certainly was as a replica.
    seen: Option<HistoryPoint>,
    /// The id of the next transaction at that place.
    next_transaction: Option<(Timeline, TransactionId)>,
    rise: Option<Rise>,
    ancestor: Option<Ancestor>,
    /// The process id of the WAL receiver in the last answer.
    receiver: Option<i32>,
    doubt: Option<Doubt>,
    /// The highest timeline that any call has waited for.
    newest_wanted: Option<Timeline>,
}

/// Signs that the timeline of a replica may have changed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When the first sign was seen.
    since: Instant,
    /// How far the replica was at the last sign.
    lsn: Lsn,
}

/// The files of a replica without WAL receiver show a higher timeline: it is being promoted, or it followed another server.
#[derive(Clone, Copy, Debug)]
struct Rise {
    /// The last certain place before.
    from: HistoryPoint,
    since: Instant,
}

/// A place in the server's history. A later place is greater, since the timelines of one server only go up.
type HistoryPoint = (Timeline, Lsn);

impl History {
    pub(super) fn new(system: SystemIdentifier) -> Self {
        Self {
            system,
            seen: None,
            next_transaction: None,
            rise: None,
            ancestor: None,
            receiver: None,
            doubt: None,
            newest_wanted: None,
        }
    }

    pub(super) fn system(&self) -> SystemIdentifier {
        self.system
    }

    /// Takes an answer in and returns the server's state. `newest_wanted` is the highest timeline of this cluster among
    /// the awaited positions. `None` if the answer leaves a doubt and holds no evidence.
    pub(super) fn read(
        &mut self,
        answer: &ProbeAnswer,
        newest_wanted: Option<Timeline>,
        now: Instant,
    ) -> Option<ServerState> {
        self.newest_wanted = self.newest_wanted.max(newest_wanted);
        let timeline = match (answer.role, answer.timeline, answer.evidence) {
            (Role::Primary, timeline, evidence) => self.read_primary(answer, timeline?, evidence),
            (Role::Replica, Some(timeline), _) => self.certain(answer, timeline),
            (Role::Replica, None, evidence) => match self.rising(answer, evidence?, now) {
                Some((timeline, lsn)) => {
                    return Some(told(answer, self.doubtful(answer, Position::new(self.system, timeline, lsn))));
                }
                None => self.weigh(answer, evidence?, now),
            },
        };
        let certain_to = self.doubt.and(self.seen).map(|(_, certain)| certain.min(answer.lsn));
        // A doubt may pass, especially in the middle of a promotion.
        let is_fresh = self.doubt.is_some_and(|doubt| now < doubt.since + PATIENCE);
        let (lsn, certain_to) = match certain_to {
            Some(certain) if is_fresh => (certain, None),
            certain_to => (answer.lsn, certain_to),
        };
        let position = Position::new(self.system, timeline, lsn);
        let in_doubt = self.doubt.is_some();
        if answer.role == Role::Replica && !in_doubt {
            self.next_transaction = answer.next_transaction.map(|next| (timeline, next));
        }
        let state = ServerState { certain_to, in_doubt, ..self.doubtful(answer, position) };
        Some(told(answer, state))
    }

    /// Returns the state at a position of doubtful timeline.
    fn doubtful(&self, answer: &ProbeAnswer, position: Position) -> ServerState {
        let ProbeAnswer { role, received, lag, next_transaction, finished_before, .. } = *answer;
        let state = ServerState::new(role, position);
        ServerState {
            next_transaction,
            finished_before,
            received,
            lag,
            ancestor: self.ancestor,
            in_doubt: true,
            ..state
        }
    }

    /// Returns what is known of a lower timeline, on which the server certainly was up to a place.
    fn ancestor(&self, timeline: Timeline, lsn: Lsn) -> Ancestor {
        let next = self.next_transaction.filter(|(known, _)| *known == timeline);
        Ancestor { timeline, lsn, next_transaction: next.map(|(_, next)| next) }
    }

    /// Reads the answer of a primary, which may have been promoted. If its timeline rose by one, replay ended on the
    /// timeline before. If it rose by more, there was another timeline in between, and the server followed the older
    /// one at least as far as it was seen there.
    fn read_primary(&mut self, answer: &ProbeAnswer, timeline: Timeline, evidence: Option<Evidence>) -> Timeline {
        let places = [self.seen, self.rise.map(|rise| rise.from), evidence.map(Evidence::place)];
        let before = places.into_iter().flatten().filter(|place| place.0 < timeline).max();
        if let Some((parent, seen)) = before {
            let is_direct = u32::from(parent) + 1 == u32::from(timeline);
            let end = answer.switched_at.filter(|_| is_direct);
            self.ancestor = Some(self.ancestor(parent, end.unwrap_or(seen)));
        }
        self.doubt = None;
        timeline
    }

    /// Notes the place of a replica whose timeline is certain.
    fn certain(&mut self, answer: &ProbeAnswer, timeline: Timeline) -> Timeline {
        if let Some((parent, lsn)) = self.seen.filter(|seen| seen.0 < timeline) {
            self.ancestor = Some(self.ancestor(parent, lsn));
        }
        self.seen = Some((timeline, answer.seen_to()));
        self.receiver = answer.receiver;
        self.doubt = None;
        timeline
    }

    /// Returns the last certain place while the replica may be being promoted. How far it replayed the timeline before is
    /// not known until it reports that it is a primary.
    fn rising(&mut self, answer: &ProbeAnswer, evidence: Evidence, now: Instant) -> Option<HistoryPoint> {
        let from = self.seen.filter(|seen| answer.receiver.is_none() && seen.0 < evidence.timeline)?;
        let rise = self.rise.filter(|rise| rise.from.0 == from.0).unwrap_or(Rise { from, since: now });
        self.rise = Some(rise);
        (now < rise.since + PATIENCE).then_some(from)
    }

    /// Derives the timeline of a replica that does not show it.
    fn weigh(&mut self, answer: &ProbeAnswer, evidence: Evidence, now: Instant) -> Timeline {
        let known = evidence.place().max(self.seen.unwrap_or(evidence.place()));
        let (timeline, lsn) = known;
        if evidence.highest.is_some_and(|highest| highest <= timeline) {
            return self.certain(answer, timeline);
        }
        let newest = self.newest_wanted.max(evidence.highest).unwrap_or(timeline);
        self.notice_signs(answer, newest > timeline, now);
        if self.doubt.is_some_and(|doubt| lsn >= doubt.lsn && newest <= timeline && answer.receiver.is_some()) {
            self.doubt = None;
        }
        self.seen = Some(if self.doubt.is_some() { known } else { (timeline, answer.seen_to()) });
        timeline
    }

    fn notice_signs(&mut self, answer: &ProbeAnswer, is_outrun: bool, now: Instant) {
        let is_first = self.seen.is_none();
        let is_replaced = !is_first && answer.receiver != self.receiver;
        if answer.receiver.is_none() || is_replaced || (is_outrun && self.doubt.is_none()) {
            let since = self.doubt.map_or(now, |doubt| doubt.since);
            self.doubt = Some(Doubt { since, lsn: answer.lsn });
        }
        self.receiver = answer.receiver;
    }
}

/// Returns the state without places if the server tells positions by transaction: those in its control file only serve to find
/// the timeline.
fn told(answer: &ProbeAnswer, state: ServerState) -> ServerState {
    if answer.positions == PositionKind::Lsn {
        return state;
    }
    let ancestor = state.ancestor.map(|ancestor| Ancestor { lsn: Lsn::INVALID, ..ancestor });
    let position = Position { lsn: Lsn::INVALID, ..state.position };
    ServerState { position, ancestor, certain_to: state.certain_to.map(|_| Lsn::INVALID), ..state }
}

impl ProbeAnswer {
    /// Returns the place up to which the server certainly was.
    fn seen_to(&self) -> Lsn {
        match (self.positions, self.evidence) {
            (PositionKind::Transaction, Some(evidence)) => evidence.lsn,
            _ => self.lsn,
        }
    }
}

impl Evidence {
    fn place(self) -> HistoryPoint {
        (self.timeline, self.lsn)
    }
}

/// How long a doubt may last before it is reported to the waiters. A server that is being promoted has files of its new
/// timeline for some milliseconds before it reports that it is a primary.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict::{NotYet, OtherTimeline, Reached};
    use crate::position::state::Verdict;
    use crate::position::tests::position;

    /// A replica that shows its timeline.
    fn streaming(timeline: u32, lsn: u64) -> ProbeAnswer {
        ProbeAnswer { timeline: Some(timeline.into()), receiver: Some(1), ..replica(lsn) }
    }

    /// A replica that does not show its timeline. It has a WAL receiver with this process id, and files that prove a
    /// place.
    fn hidden(lsn: u64, receiver: Option<i32>, proven: (u32, u64)) -> ProbeAnswer {
        ProbeAnswer { receiver, evidence: evidence(proven, None), ..replica(lsn) }
    }

    /// A replica without a WAL receiver, whose files may be listed.
    fn listed(lsn: u64, proven: (u32, u64), highest: u32) -> ProbeAnswer {
        ProbeAnswer { evidence: evidence(proven, Some(highest.into())), ..replica(lsn) }
    }

    fn primary(timeline: u32, lsn: u64, switched_at: Option<u64>) -> ProbeAnswer {
        let switched_at = switched_at.map(Lsn::from);
        ProbeAnswer { role: Role::Primary, timeline: Some(timeline.into()), switched_at, ..replica(lsn) }
    }

    fn replica(lsn: u64) -> ProbeAnswer {
        ProbeAnswer {
            role: Role::Replica,
            positions: PositionKind::Lsn,
            lsn: lsn.into(),
            next_transaction: None,
            finished_before: None,
            switched_at: None,
            timeline: None,
            receiver: None,
            received: None,
            lag: None,
            evidence: None,
        }
    }

    fn evidence((timeline, lsn): (u32, u64), highest: Option<Timeline>) -> Option<Evidence> {
        Some(Evidence { timeline: timeline.into(), lsn: lsn.into(), highest })
    }

    /// A server that tells positions by transaction, with files that prove a place. The next transaction has this id.
    fn by_transaction(role: Role, receiver: Option<i32>, (timeline, lsn): (u32, u64), next: u64) -> ProbeAnswer {
        ProbeAnswer {
            role,
            positions: PositionKind::Transaction,
            next_transaction: Some(next.into()),
            timeline: (role == Role::Primary).then(|| timeline.into()),
            receiver,
            evidence: evidence((timeline, lsn), None),
            ..replica(lsn + 1)
        }
    }

    /// Reads the answers, each while a call waits for the timeline next to it. Then reads the last answer again, when
    /// doubts are old, and compares the state with the table.
    #[track_caller]
    fn check(answers: &[(ProbeAnswer, u32)], table: &[((u32, u64), Verdict)]) {
        let last = answers[answers.len() - 1];
        check_steps(answers.iter().map(|answer| (*answer, 0)).chain([(last, 1)]), table);
    }

    /// Reads the answers, each at its second, and compares the last state with the table.
    #[track_caller]
    fn check_steps(steps: impl IntoIterator<Item = ((ProbeAnswer, u32), u64)>, table: &[((u32, u64), Verdict)]) {
        let (mut history, start) = (History::new(7.into()), Instant::now());
        let states: Vec<_> = steps
            .into_iter()
            .map(|((answer, wanted), second)| {
                history.read(&answer, Some(wanted.into()), start + Duration::from_secs(second))
            })
            .collect();
        let state = states.last().unwrap().unwrap();
        for &((timeline, lsn), verdict) in table {
            let wanted = position(timeline, lsn);
            assert_eq!(state.compare(wanted), verdict, "{wanted} on {state:?}");
        }
    }

    #[test]
    fn shown_timeline_is_believed() {
        check(&[(streaming(2, 100), 2)], &[((2, 100), Reached), ((2, 101), NotYet), ((3, 100), NotYet)]);
        check(&[(streaming(2, 100), 2)], &[((1, 50), OtherTimeline)]);
    }

    #[test]
    fn promoted_server_keeps_what_it_had_replayed() {
        let kept = [((1, 120), Reached), ((1, 121), OtherTimeline), ((2, 150), Reached), ((2, 151), NotYet)];
        check(&[(streaming(1, 100), 1), (primary(2, 150, Some(120)), 1)], &kept);
        check(&[(hidden(100, Some(1), (1, 50)), 1), (primary(2, 150, Some(120)), 1)], &kept);
        check(&[(hidden(100, None, (1, 50)), 1), (primary(2, 150, Some(120)), 1)], &kept);
        let later = (primary(2, 150, Some(120)), 1);
        check(&[(streaming(1, 100), 1), (primary(2, 140, Some(120)), 1), later], &kept);
    }

    #[test]
    fn promoted_server_knows_what_its_files_know() {
        let answer = primary(2, 150, Some(120));
        check(&[(answer, 1)], &[((1, 120), OtherTimeline), ((1, 1), OtherTimeline)]);
        let with_files = |timeline| ProbeAnswer { evidence: evidence((timeline, 90), None), ..answer };
        check(&[(with_files(1), 1)], &[((1, 120), Reached), ((1, 121), OtherTimeline)]);
        check(&[(with_files(2), 1)], &[((1, 1), OtherTimeline)]);
    }

    #[test]
    fn frozen_lsn_proves_no_older_timeline() {
        let answers = [(streaming(1, 100), 1), (primary(3, 150, Some(120)), 1)];
        check(&answers, &[((1, 100), Reached), ((1, 101), OtherTimeline), ((2, 101), OtherTimeline)]);
    }

    #[test]
    fn server_without_promotion_has_one_history() {
        check(&[(primary(1, 150, None), 1)], &[((1, 150), Reached), ((1, 151), NotYet), ((2, 1), OtherTimeline)]);
    }

    #[test]
    fn replica_keeps_its_place_across_a_switch() {
        let answers = [(streaming(1, 100), 1), (streaming(2, 150), 1)];
        check(&answers, &[((1, 100), Reached), ((1, 101), OtherTimeline), ((2, 150), Reached)]);
    }

    #[test]
    fn hidden_timeline_is_taken_from_files() {
        let answer = |lsn| hidden(lsn, Some(1), (1, 50));
        check(&[(answer(100), 1)], &[((1, 100), Reached), ((1, 101), NotYet)]);
        check(&[(answer(100), 1), (answer(110), 1)], &[((1, 110), Reached)]);
        check(
            &[(answer(100), 1), (hidden(110, Some(1), (2, 105)), 2)],
            &[((2, 110), Reached), ((1, 1), OtherTimeline)],
        );
    }

    #[test]
    fn sign_leaves_only_proven_positions() {
        let before = (hidden(100, Some(1), (1, 50)), 1);
        let unsure = [((1, 100), Reached), ((1, 110), OtherTimeline), ((1, 111), NotYet)];
        for after in
            [(hidden(110, Some(2), (1, 50)), 1), (hidden(110, None, (1, 50)), 1), (hidden(110, Some(1), (1, 50)), 2)]
        {
            check(&[before, after], &unsure);
            // It does not pass by itself.
            check(&[before, after, (ProbeAnswer { lsn: 110.into(), ..after.0 }, 1)], &unsure);
        }
        check(&[(hidden(110, None, (1, 50)), 1)], &[((1, 50), Reached), ((1, 51), OtherTimeline)]);
    }

    #[test]
    fn fresh_doubt_keeps_waiting() {
        let (known, promoting) = (listed(100, (1, 50), 1), listed(120, (1, 50), 2));
        let (known, promoting) = ((known, 1), (promoting, 1));
        check_steps([(known, 0), (promoting, 5)], &[((1, 100), Reached), ((1, 101), NotYet), ((1, 121), NotYet)]);
        check_steps(
            [(known, 0), (promoting, 5), (promoting, 6)],
            &[((1, 100), Reached), ((1, 101), OtherTimeline), ((1, 121), NotYet)],
        );
        let promoted = (primary(2, 150, Some(120)), 1);
        check_steps([(known, 0), (promoting, 5), (promoted, 7)], &[((1, 120), Reached), ((2, 151), NotYet)]);
    }

    /// The control file names the new timeline before the server says that it is a primary.
    #[test]
    fn server_that_is_being_promoted_keeps_waiting() {
        let promoted = (primary(2, 150, Some(120)), 1);
        for promoting in [listed(120, (2, 125), 2), hidden(120, None, (2, 125))] {
            let (before, promoting) = ((streaming(1, 100), 1), (promoting, 1));
            let waiting = [((1, 100), Reached), ((1, 120), NotYet), ((2, 1), NotYet)];
            check_steps([(before, 0), (promoting, 5), (promoting, 5)], &waiting);
            check_steps([(before, 0), (promoting, 5), (promoting, 7)], &[((1, 120), OtherTimeline)]);
            for second in [5, 7] {
                let kept = [((1, 120), Reached), ((1, 121), OtherTimeline), ((2, 150), Reached)];
                check_steps([(before, 0), (promoting, 5), (promoting, second), (promoted, 8)], &kept);
            }
        }
    }

    #[test]
    fn doubt_ends_with_a_proof_behind_it() {
        let answers = [(hidden(100, Some(1), (1, 50)), 1), (hidden(110, Some(2), (1, 50)), 1)];
        let then = |answer, wanted| [answers[0], answers[1], (answer, wanted)];
        check(&then(hidden(120, Some(2), (1, 109)), 1), &[((1, 109), Reached), ((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(2), (1, 110)), 1), &[((1, 120), Reached)]);
        check(&then(hidden(120, Some(2), (1, 110)), 2), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, None, (1, 110)), 1), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(3), (1, 110)), 1), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(2), (2, 115)), 2), &[((2, 120), Reached), ((1, 1), OtherTimeline)]);
        check(&then(streaming(1, 120), 1), &[((1, 120), Reached)]);
    }

    #[test]
    fn file_names_settle_it_without_receiver() {
        check(&[(listed(110, (1, 50), 1), 1)], &[((1, 110), Reached), ((1, 111), NotYet)]);
        check(&[(listed(110, (1, 50), 2), 1)], &[((1, 50), Reached), ((1, 110), OtherTimeline)]);
        check(&[(streaming(2, 100), 2), (listed(110, (1, 50), 2), 2)], &[((2, 110), Reached)]);
    }

    #[test]
    fn transactions_have_the_timeline_of_files() {
        let (mut history, start) = (History::new(7.into()), Instant::now());
        let mut read = |role, receiver, proven, next, second| {
            let answer = by_transaction(role, receiver, proven, next);
            let state = history.read(&answer, None, start + Duration::from_secs(second)).unwrap();
            let wanted = Position::by_transaction(7, 1, 744);
            let ids = state.ancestor.and_then(|ancestor| ancestor.next_transaction).map(u64::from);
            assert_eq!(state.position.lsn, Lsn::INVALID);
            (u32::from(state.position.timeline), state.in_doubt, state.compare(wanted), ids)
        };
        let replica = Role::Replica;
        assert_eq!(read(replica, Some(1), (1, 50), 800, 0), (1, false, NotYet, None));
        assert_eq!(read(replica, Some(1), (1, 50), 810, 1), (1, false, NotYet, None));
        // The receiver was replaced: the doubt ends with a later proof.
        assert_eq!(read(replica, Some(2), (1, 50), 820, 2), (1, true, NotYet, None));
        assert_eq!(read(replica, Some(2), (1, 50), 820, 4), (1, true, OtherTimeline, None));
        assert_eq!(read(replica, Some(2), (1, 60), 830, 5), (1, false, NotYet, None));
        assert_eq!(read(replica, None, (1, 60), 840, 6), (1, true, NotYet, None));
        assert_eq!(read(Role::Primary, None, (2, 60), 850, 7), (2, false, OtherTimeline, Some(830)));
        assert_eq!(read(Role::Primary, None, (2, 70), 860, 8), (2, false, OtherTimeline, Some(830)));
    }

    #[test]
    fn unknown_timeline_stays_the_same() {
        let mut history = History::new(7.into());
        for role in [Role::Replica, Role::Primary] {
            let answer = ProbeAnswer {
                timeline: Some(Timeline::UNKNOWN),
                evidence: None,
                ..by_transaction(role, Some(0), (1, 1), 800)
            };
            let state = history.read(&answer, None, Instant::now()).unwrap();
            assert_eq!((state.position, state.in_doubt), (Position::new(7, 0, 0), false));
            assert_eq!(state.compare(Position::by_transaction(7, 0, 744)), NotYet);
            assert_eq!(state.compare(Position::new(7, 1, 1)), OtherTimeline);
        }
    }

    #[test]
    fn quick_answer_without_timeline_is_refused() {
        let mut history = History::new(7.into());
        assert_eq!(history.read(&replica(100), None, Instant::now()), None);
    }
}
