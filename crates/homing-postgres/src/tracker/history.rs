//! [`History`], which timeline a server is on, from all that it has told on one connection.

use std::time::Duration;

use tokio::time::Instant;

use super::probe::{Evidence, ProbeAnswer};
use crate::position::lsn::Lsn;
use crate::position::role::Role;
use crate::position::state::Ancestor;
use crate::position::state::ServerState;
use crate::position::{Position, SystemIdentifier, Timeline};

/// What is known of a server's timelines. Pure: it is told what the server answered, and when.
///
/// Belongs to one connection, since a server that is started anew may have another history.
///
/// A replica says which timeline it is streaming, though only to members of `pg_monitor`. Where it does not, its files
/// tell at least on which timeline it was some time ago. What they say is trusted until there is a sign that the
/// timeline may have changed; from then on only what they prove counts, until they prove more.
#[derive(Debug)]
pub(super) struct History {
    system: SystemIdentifier,
    /// The last place where the server, as a replica, was without a doubt.
    seen: Option<HistoryPoint>,
    ancestor: Option<Ancestor>,
    /// The WAL receiver at the last answer.
    receiver: Option<i32>,
    doubt: Option<Doubt>,
    /// The highest timeline that anybody has waited for.
    newest_wanted: Option<Timeline>,
}

/// There were signs that the timeline of a replica may have changed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When the first one was seen.
    since: Instant,
    /// Where the replica was at the last one.
    lsn: Lsn,
}

/// A place that the server has been at. A later one is greater, since the timelines of one server only go up.
type HistoryPoint = (Timeline, Lsn);

impl History {
    pub(super) fn new(system: SystemIdentifier) -> Self {
        Self { system, seen: None, ancestor: None, receiver: None, doubt: None, newest_wanted: None }
    }

    pub(super) fn system(&self) -> SystemIdentifier {
        self.system
    }

    /// Takes in an answer. `newest_wanted` is the highest timeline of this cluster that anybody waits for. `None` if
    /// the answer leaves a doubt and holds no evidence.
    pub(super) fn read(
        &mut self,
        look: &ProbeAnswer,
        newest_wanted: Option<Timeline>,
        now: Instant,
    ) -> Option<ServerState> {
        self.newest_wanted = self.newest_wanted.max(newest_wanted);
        let timeline = match (look.role, look.timeline, look.evidence) {
            (Role::Primary, timeline, evidence) => self.read_primary(look, timeline?, evidence),
            (Role::Replica, Some(timeline), _) => self.certain(look, timeline),
            (Role::Replica, None, evidence) => self.weigh(look, evidence?, now),
        };
        let certain_to = self.doubt.and(self.seen).map(|(_, certain)| certain.min(look.lsn));
        // A doubt may pass, most of all in the middle of a promotion.
        let is_fresh = self.doubt.is_some_and(|doubt| now < doubt.since + PATIENCE);
        let (lsn, certain_to) = match certain_to {
            Some(certain) if is_fresh => (certain, None),
            certain_to => (look.lsn, certain_to),
        };
        let position = Position { system_identifier: self.system, timeline, lsn };
        let state = ServerState::new(look.role, position);
        Some(ServerState { received: look.received, lag: look.lag, ancestor: self.ancestor, certain_to, ..state })
    }

    /// After a promotion. Where the timeline rose by one, replay ended on the one before. Where it rose by more there
    /// was another one in between, and the server followed the older one at least as far as it was seen on it.
    fn read_primary(&mut self, look: &ProbeAnswer, timeline: Timeline, evidence: Option<Evidence>) -> Timeline {
        let places = [self.seen, evidence.map(Evidence::place)];
        let before = places.into_iter().flatten().filter(|place| place.0 < timeline).max();
        if let Some((parent, seen)) = before {
            let is_direct = u32::from(parent) + 1 == u32::from(timeline);
            let end = look.switched_at.filter(|_| is_direct);
            self.ancestor = Some(Ancestor { timeline: parent, lsn: end.unwrap_or(seen) });
        }
        self.doubt = None;
        timeline
    }

    /// A replica whose timeline is beyond doubt.
    fn certain(&mut self, look: &ProbeAnswer, timeline: Timeline) -> Timeline {
        if let Some((parent, lsn)) = self.seen.filter(|seen| seen.0 < timeline) {
            self.ancestor = Some(Ancestor { timeline: parent, lsn });
        }
        self.seen = Some((timeline, look.lsn));
        self.receiver = look.receiver;
        self.doubt = None;
        timeline
    }

    /// The timeline of a replica that does not tell it.
    fn weigh(&mut self, look: &ProbeAnswer, evidence: Evidence, now: Instant) -> Timeline {
        let known = evidence.place().max(self.seen.unwrap_or(evidence.place()));
        let (timeline, lsn) = known;
        if evidence.highest.is_some_and(|highest| highest <= timeline) {
            return self.certain(look, timeline);
        }
        let newest = self.newest_wanted.max(evidence.highest).unwrap_or(timeline);
        self.notice_signs(look, newest > timeline, now);
        if self.doubt.is_some_and(|doubt| lsn >= doubt.lsn && newest <= timeline && look.receiver.is_some()) {
            self.doubt = None;
        }
        self.seen = Some(if self.doubt.is_some() { known } else { (timeline, look.lsn) });
        timeline
    }

    fn notice_signs(&mut self, look: &ProbeAnswer, is_outrun: bool, now: Instant) {
        let is_first = self.seen.is_none();
        let is_replaced = !is_first && look.receiver != self.receiver;
        if look.receiver.is_none() || is_replaced || (is_outrun && self.doubt.is_none()) {
            let since = self.doubt.map_or(now, |doubt| doubt.since);
            self.doubt = Some(Doubt { since, lsn: look.lsn });
        }
        self.receiver = look.receiver;
    }
}

impl Evidence {
    fn place(self) -> HistoryPoint {
        (self.timeline, self.lsn)
    }
}

/// How long a doubt may last before those are told whose positions it concerns. A server that is being promoted has
/// files of its new timeline for some milliseconds before it says that it is a primary.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict::{NotYet, OtherTimeline, Reached};
    use crate::position::state::Verdict;

    /// A replica that tells its timeline.
    fn streaming(timeline: u32, lsn: u64) -> ProbeAnswer {
        ProbeAnswer { timeline: Some(timeline.into()), receiver: Some(1), ..replica(lsn) }
    }

    /// A replica that does not, with a WAL receiver of this process id, and files that prove a place.
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
            lsn: lsn.into(),
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

    /// Reads one look after the other, while somebody waits for the timeline, and once more the last one when doubts
    /// are old. Compares with that.
    #[track_caller]
    fn check(looks: &[(ProbeAnswer, u32)], table: &[((u32, u64), Verdict)]) {
        let last = looks[looks.len() - 1];
        check_steps(looks.iter().map(|look| (*look, 0)).chain([(last, 1)]), table);
    }

    /// The same, with the second in which each look was made.
    #[track_caller]
    fn check_steps(steps: impl IntoIterator<Item = ((ProbeAnswer, u32), u64)>, table: &[((u32, u64), Verdict)]) {
        let (mut history, start) = (History::new(7.into()), Instant::now());
        let states: Vec<_> = steps
            .into_iter()
            .map(|((look, wanted), second)| {
                history.read(&look, Some(wanted.into()), start + Duration::from_secs(second))
            })
            .collect();
        let state = states.last().unwrap().unwrap();
        for &((timeline, lsn), verdict) in table {
            let wanted = Position { system_identifier: 7.into(), timeline: timeline.into(), lsn: lsn.into() };
            assert_eq!(state.compare(wanted), verdict, "{wanted} on {state:?}");
        }
    }

    #[test]
    fn told_timeline_is_believed() {
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
    fn promoted_server_seen_for_the_first_time_keeps_what_its_files_still_know() {
        let look = primary(2, 150, Some(120));
        check(&[(look, 1)], &[((1, 120), OtherTimeline), ((1, 1), OtherTimeline)]);
        let with_files = |timeline| ProbeAnswer { evidence: evidence((timeline, 90), None), ..look };
        check(&[(with_files(1), 1)], &[((1, 120), Reached), ((1, 121), OtherTimeline)]);
        check(&[(with_files(2), 1)], &[((1, 1), OtherTimeline)]);
    }

    #[test]
    fn frozen_place_is_not_taken_for_one_of_an_older_timeline() {
        let looks = [(streaming(1, 100), 1), (primary(3, 150, Some(120)), 1)];
        check(&looks, &[((1, 100), Reached), ((1, 101), OtherTimeline), ((2, 101), OtherTimeline)]);
    }

    #[test]
    fn server_that_was_never_a_replica_has_one_history() {
        check(&[(primary(1, 150, None), 1)], &[((1, 150), Reached), ((1, 151), NotYet), ((2, 1), OtherTimeline)]);
    }

    #[test]
    fn replica_that_follows_a_promoted_one_keeps_what_was_seen() {
        let looks = [(streaming(1, 100), 1), (streaming(2, 150), 1)];
        check(&looks, &[((1, 100), Reached), ((1, 101), OtherTimeline), ((2, 150), Reached)]);
    }

    #[test]
    fn hidden_timeline_is_taken_from_the_files_while_nothing_points_to_another() {
        let look = |lsn| hidden(lsn, Some(1), (1, 50));
        check(&[(look(100), 1)], &[((1, 100), Reached), ((1, 101), NotYet)]);
        check(&[(look(100), 1), (look(110), 1)], &[((1, 110), Reached)]);
        check(&[(look(100), 1), (hidden(110, Some(1), (2, 105)), 2)], &[((2, 110), Reached), ((1, 1), OtherTimeline)]);
    }

    #[test]
    fn sign_of_a_switch_leaves_only_what_is_proven() {
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

    #[test]
    fn doubt_ends_with_a_proof_behind_it() {
        let looks = [(hidden(100, Some(1), (1, 50)), 1), (hidden(110, Some(2), (1, 50)), 1)];
        let then = |look, wanted| [looks[0], looks[1], (look, wanted)];
        check(&then(hidden(120, Some(2), (1, 109)), 1), &[((1, 109), Reached), ((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(2), (1, 110)), 1), &[((1, 120), Reached)]);
        check(&then(hidden(120, Some(2), (1, 110)), 2), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, None, (1, 110)), 1), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(3), (1, 110)), 1), &[((1, 120), OtherTimeline)]);
        check(&then(hidden(120, Some(2), (2, 115)), 2), &[((2, 120), Reached), ((1, 1), OtherTimeline)]);
        check(&then(streaming(1, 120), 1), &[((1, 120), Reached)]);
    }

    #[test]
    fn without_receiver_the_names_of_the_files_settle_it() {
        check(&[(listed(110, (1, 50), 1), 1)], &[((1, 110), Reached), ((1, 111), NotYet)]);
        check(&[(listed(110, (1, 50), 2), 1)], &[((1, 50), Reached), ((1, 110), OtherTimeline)]);
        check(&[(streaming(2, 100), 2), (listed(110, (1, 50), 2), 2)], &[((2, 110), Reached)]);
    }

    #[test]
    fn quick_answer_without_timeline_is_not_enough() {
        let mut history = History::new(7.into());
        assert_eq!(history.read(&replica(100), None, Instant::now()), None);
    }
}
