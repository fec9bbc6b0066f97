//! [`ServerState`], the result of one probe of a server, and its comparison with a position.

use std::time::Duration;

use super::lsn::Lsn;
use super::role::Role;
use super::transaction_id::TransactionId;
use super::{Position, SystemIdentifier, Timeline};

/// Tells one server, from its start to its end, from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerId {
    pub(crate) system_identifier: SystemIdentifier,
    /// When the server was started, in microseconds since 1970.
    pub(crate) started_at: i64,
}

/// The result of one probe of one server. It says nothing about other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerState {
    /// The server's role.
    pub role: Role,

    /// How far the server is. On a replica this is the replayed position, up to which the log is applied
    /// (`pg_last_wal_replay_lsn()`). On a primary it is the flushed position, up to which the log is on disk
    /// (`pg_current_wal_flush_lsn()`). [`Lsn::INVALID`] if the server does not tell its place.
    pub position: Position,

    /// All transactions that the server shows as committed have lower ids (`pg_snapshot_xmax(pg_current_snapshot())`). `None`
    /// if the state does not come from a probe.
    pub next_transaction: Option<TransactionId>,

    /// All transactions with lower ids have ended on the server (`pg_snapshot_xmin(pg_current_snapshot())`): what they committed
    /// is visible. `None` if the state does not come from a probe.
    pub finished_before: Option<TransactionId>,

    /// The age of the last replayed commit if the replica has received more than it has replayed; zero if it has
    /// replayed all. `None` on a primary, and on a replica that has not replayed a commit since its start.
    pub lag: Option<Duration>,

    /// How far a replica has received the log, replayed or not (`pg_last_wal_receive_lsn()`). `None` on a primary, and
    /// on a replica that has received nothing since its start.
    pub received: Option<Lsn>,

    /// The time that the probe took, on the network and in the server. `None` if the state does not come from a probe.
    pub round_trip: Option<Duration>,

    /// The lower timeline that is known to be part of this server's history.
    pub ancestor: Option<Ancestor>,

    /// `None` if the server's timeline is certain, which is the usual case. Otherwise this replica may have moved to a
    /// higher timeline unnoticed (see [`Tracker`](crate::Tracker#privileges)). Its history is then that of
    /// `position.timeline` for certain only up to this place.
    pub certain_to: Option<Lsn>,

    /// Whether the timeline is in doubt. A doubt that has just come up lowers `position` to the certain one, although the
    /// server shows more.
    pub(crate) in_doubt: bool,

    /// The server that answered. `None` if the state does not come from a probe.
    pub(crate) server: Option<ServerId>,
}

impl ServerState {
    /// Returns the state of a server at this position. The other fields are unknown.
    pub fn new(role: Role, position: Position) -> Self {
        Self {
            role,
            position,
            next_transaction: None,
            finished_before: None,
            lag: None,
            received: None,
            round_trip: None,
            ancestor: None,
            certain_to: None,
            in_doubt: false,
            server: None,
        }
    }

    /// Returns whether everything up to `wanted` is visible on this server.
    ///
    /// | `wanted` is of | answer |
    /// |---|---|
    /// | another cluster | [`OtherSystem`](Verdict::OtherSystem) |
    /// | the server's timeline | [`Reached`](Verdict::Reached) up to the server's position, else [`NotYet`](Verdict::NotYet) |
    /// | a lower timeline | `Reached` up to the place in [`ancestor`](Self::ancestor), else [`OtherTimeline`](Verdict::OtherTimeline) |
    /// | a higher timeline | `NotYet` on a replica, which may follow; `OtherTimeline` on a primary |
    ///
    /// If [`certain_to`](Self::certain_to) is set, positions after it that the replica has passed are `OtherTimeline`.
    ///
    /// A position by transaction alone is `Reached` if the transaction is before [`finished_before`](Self::finished_before) and the
    /// server tells its timeline. The state does not tell which later transactions are visible: they are `NotYet`, and a
    /// [`Tracker`](crate::Tracker) finds out. A place is `OtherTimeline` on a server that does not
    /// tell its own, unless the transaction may tell.
    ///
    /// Numbers of different timelines are never compared with each other: after a failover the new timeline uses the
    /// same numbers for other contents.
    pub fn compare(&self, wanted: Position) -> Verdict {
        if wanted.system_identifier != self.position.system_identifier {
            return Verdict::OtherSystem;
        }
        if wanted.timeline < self.position.timeline {
            return self.compare_with_ancestor(wanted);
        }
        let same_history = wanted.timeline == self.position.timeline;
        if self.cannot_tell(wanted) {
            return Verdict::OtherTimeline;
        }
        let is_told = wanted.lsn != Lsn::INVALID && wanted.lsn <= self.certain_to.unwrap_or(self.position.lsn);
        if same_history && (is_told || self.has_finished(wanted)) {
            Verdict::Reached
        } else if self.may_come(wanted, same_history) {
            Verdict::NotYet
        } else {
            Verdict::OtherTimeline
        }
    }

    /// Returns whether waiting may help for a position that is not certainly reached. A primary never joins a higher
    /// timeline. A replica of uncertain timeline that is past the number will not become certain by waiting.
    fn may_come(&self, wanted: Position, same_history: bool) -> bool {
        match self.role {
            Role::Primary => same_history,
            Role::Replica => self.certain_to.is_none() || self.position.lsn < wanted.lsn,
        }
    }

    /// Returns how far the server is: its place in the log, or else the last transaction that it shows. Commits are not in the
    /// order of ids, but nearly, so the latter is an estimate.
    pub fn reached(&self) -> Position {
        match self.next_transaction {
            Some(next) if self.position.lsn == Lsn::INVALID => {
                self.position.with_transaction(TransactionId::from(u64::from(next).saturating_sub(1)))
            }
            _ => self.position,
        }
    }

    /// Returns whether the transaction of a position of the server's timeline has certainly ended there, if no place tells. It
    /// was committed, since it has a position. That holds for no other timeline, so the timeline has to be known.
    fn has_finished(&self, wanted: Position) -> bool {
        let no_place_tells = wanted.lsn == Lsn::INVALID || self.position.lsn == Lsn::INVALID;
        let is_certain = self.position.timeline != Timeline::UNKNOWN && !self.in_doubt;
        let ended = wanted.transaction.zip(self.finished_before).is_some_and(|(wanted, before)| wanted < before);
        no_place_tells && is_certain && ended
    }

    /// Returns whether only places tell whether the position is reached, and the server does not tell its own.
    fn cannot_tell(&self, wanted: Position) -> bool {
        self.position.lsn == Lsn::INVALID && wanted.transaction.is_none()
    }

    /// Returns whether the server has certainly kept this position of its ancestor, if its transaction is committed: the ids
    /// below the last one of the lower timeline were not given again.
    pub(crate) fn keeps_transactions_of(&self, wanted: Position) -> bool {
        self.ancestor.is_some_and(|ancestor| {
            wanted.system_identifier == self.position.system_identifier
                && wanted.timeline == ancestor.timeline
                && wanted.transaction.zip(ancestor.next_transaction).is_some_and(|(wanted, next)| wanted < next)
        })
    }

    /// Compares a position of a lower timeline. It survived the switch if this server had replayed it by then.
    /// Otherwise it is lost, or its fate is unknown.
    fn compare_with_ancestor(&self, wanted: Position) -> Verdict {
        match self.ancestor {
            Some(ancestor)
                if ancestor.timeline == wanted.timeline && wanted.lsn != Lsn::INVALID && wanted.lsn <= ancestor.lsn =>
            {
                Verdict::Reached
            }
            _ => Verdict::OtherTimeline,
        }
    }
}

/// The part of a lower timeline that is known to be in a server's history.
///
/// The fields are public because the type is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The lower timeline.
    pub timeline: Timeline,

    /// The server had replayed the lower timeline up to here. On a promoted server this is where
    /// `pg_last_wal_replay_lsn()` froze, the end of that timeline. [`Lsn::INVALID`] if the server does not tell its place.
    pub lsn: Lsn,

    /// The [`next_transaction`](ServerState::next_transaction) when the server was last seen on the lower timeline. `None` if
    /// it was not seen there.
    pub next_transaction: Option<TransactionId>,
}

/// Whether a position is reached on a server.
///
/// The enum is closed on purpose: a caller has to handle each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Everything up to the position is visible on the server. If only the position's transaction tells, the write is visible
    /// with everything that was committed before it.
    Reached,

    /// The server is on its way to the position.
    NotYet,

    /// The position is not in the server's history, or cannot be shown to be. Waiting does not help.
    OtherTimeline,

    /// The server belongs to another cluster. Waiting does not help.
    OtherSystem,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::position::tests::position;

    pub(crate) fn replica(timeline: u32, lsn: u64) -> ServerState {
        ServerState::new(Role::Replica, position(timeline, lsn))
    }

    fn primary(timeline: u32, lsn: u64) -> ServerState {
        ServerState::new(Role::Primary, position(timeline, lsn))
    }

    fn after(ancestor: (u32, u64), state: ServerState) -> ServerState {
        let (timeline, lsn) = ancestor;
        let ancestor = Ancestor { timeline: timeline.into(), lsn: lsn.into(), next_transaction: Some(900.into()) };
        ServerState { ancestor: Some(ancestor), ..state }
    }

    fn uncertain_after(lsn: u64, state: ServerState) -> ServerState {
        ServerState { certain_to: Some(lsn.into()), ..state }
    }

    #[track_caller]
    fn check(state: ServerState, table: &[((u32, u64), Verdict)]) {
        for &((timeline, lsn), verdict) in table {
            let wanted = position(timeline, lsn);
            assert_eq!(state.compare(wanted), verdict, "{wanted} on {state:?}");
        }
    }

    #[test]
    fn replica_answers_by_its_replayed_lsn() {
        use Verdict::{NotYet, Reached};
        check(replica(2, 100), &[((2, 99), Reached), ((2, 100), Reached), ((2, 101), NotYet)]);
    }

    #[test]
    fn primary_answers_by_its_flushed_lsn() {
        use Verdict::{NotYet, Reached};
        check(primary(2, 100), &[((2, 99), Reached), ((2, 100), Reached), ((2, 101), NotYet)]);
    }

    #[test]
    fn replica_may_join_a_higher_timeline() {
        check(replica(1, 100), &[((2, 50), Verdict::NotYet), ((2, 100), Verdict::NotYet), ((3, 500), Verdict::NotYet)]);
    }

    #[test]
    fn primary_never_joins_a_higher_timeline() {
        check(primary(1, 100), &[((2, 50), Verdict::OtherTimeline), ((2, 500), Verdict::OtherTimeline)]);
    }

    #[test]
    fn unknown_ancestor_is_another_timeline() {
        for state in [replica(2, 100), primary(2, 100)] {
            check(state, &[((1, 1), Verdict::OtherTimeline), ((1, 500), Verdict::OtherTimeline)]);
        }
    }

    #[test]
    fn position_that_survived_the_switch_is_reached() {
        use Verdict::{OtherTimeline, Reached};
        for state in [after((2, 80), primary(3, 100)), after((2, 80), replica(3, 100))] {
            check(state, &[((2, 79), Reached), ((2, 80), Reached), ((2, 81), OtherTimeline), ((1, 10), OtherTimeline)]);
            check(state, &[((3, 90), Reached)]);
        }
    }

    #[test]
    fn uncertain_replica_is_believed_to_certain_to() {
        use Verdict::{NotYet, OtherTimeline, Reached};
        check(
            uncertain_after(60, replica(2, 100)),
            &[((2, 60), Reached), ((2, 61), OtherTimeline), ((2, 100), OtherTimeline), ((2, 101), NotYet)],
        );
        check(uncertain_after(60, replica(2, 100)), &[((3, 100), OtherTimeline), ((3, 101), NotYet)]);
    }

    #[test]
    fn number_never_answers_for_a_transaction() {
        use Verdict::{NotYet, OtherSystem, OtherTimeline};
        let by_transaction = |timeline: u32| Position::by_transaction(7, timeline, 744);
        for state in [replica(2, 100), primary(2, 100), replica(2, 0), after((1, 80), replica(2, 100))] {
            assert_eq!(state.compare(by_transaction(2)), NotYet, "{state:?}");
            assert_eq!(state.compare(by_transaction(1)), OtherTimeline, "{state:?}");
            let elsewhere = Position { system_identifier: 8.into(), ..by_transaction(2) };
            assert_eq!(state.compare(elsewhere), OtherSystem);
        }
        assert_eq!(uncertain_after(60, replica(2, 100)).compare(by_transaction(2)), OtherTimeline);
        assert_eq!(replica(1, 0).compare(by_transaction(2)), NotYet);
        assert_eq!(primary(1, 0).compare(by_transaction(2)), OtherTimeline);
    }

    #[test]
    fn finished_transaction_is_reached() {
        use Verdict::{NotYet, OtherTimeline, Reached};
        let finished = |state: ServerState| ServerState { finished_before: Some(744.into()), ..state };
        let table = [
            (finished(replica(2, 0)), Reached, OtherTimeline),
            (finished(primary(2, 100)), Reached, OtherTimeline),
            // Nothing tells that it is the timeline of the position.
            (finished(replica(0, 0)), NotYet, NotYet),
            (ServerState { in_doubt: true, ..finished(replica(2, 0)) }, NotYet, OtherTimeline),
        ];
        for (state, same, other) in table {
            let timeline = state.position.timeline;
            assert_eq!(state.compare(Position::by_transaction(7, timeline, 743)), same, "{state:?}");
            assert_eq!(state.compare(Position::by_transaction(7, timeline, 744)), NotYet, "{state:?}");
            let lower = u32::from(timeline).saturating_sub(1);
            assert_eq!(state.compare(Position::by_transaction(7, lower, 743)), other, "{state:?}");
        }
    }

    #[test]
    fn server_without_a_place_cannot_tell_places() {
        let write = position(2, 50).with_transaction(TransactionId::from(744));
        for state in [replica(2, 0), primary(2, 0)] {
            assert_eq!(state.compare(position(2, 50)), Verdict::OtherTimeline);
            assert_eq!(state.compare(write), Verdict::NotYet);
        }
    }

    #[test]
    fn ids_below_the_last_one_were_not_given_again() {
        let state = after((2, 80), primary(3, 0));
        for (timeline, transaction, kept) in [(2, 899, true), (2, 900, false), (1, 899, false), (3, 899, false)] {
            let wanted = Position::by_transaction(7, timeline, transaction);
            assert_eq!(state.keeps_transactions_of(wanted), kept, "{wanted}");
        }
    }

    #[test]
    fn other_cluster_comes_first() {
        let wanted = Position { system_identifier: 8.into(), ..position(1, 50) };
        for state in [replica(1, 100), primary(1, 100), after((1, 80), primary(2, 100))] {
            assert_eq!(state.compare(wanted), Verdict::OtherSystem);
        }
    }
}
