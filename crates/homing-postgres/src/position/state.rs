//! [`ServerState`], what one look at a server told, and whether a position is reached there.

use std::time::Duration;

use super::lsn::Lsn;
use super::role::Role;
use super::{Position, Timeline};

/// What one look at one server told. Only meaningful for the server it was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerState {
    /// What the server said it is.
    pub role: Role,

    /// How far it is: on a replica what is replayed (`pg_last_wal_replay_lsn()`), on a primary what is flushed
    /// (`pg_current_wal_flush_lsn()`).
    pub position: Position,

    /// How old the last replayed commit is while more is received than replayed, zero once all is replayed. `None` on
    /// a primary, and on a replica that has replayed no commit since its start.
    pub lag: Option<Duration>,

    /// How far a replica has received the log, replayed or not (`pg_last_wal_receive_lsn()`). `None` on a primary, and
    /// on a replica that has received nothing since its start.
    pub received: Option<Lsn>,

    /// What the question took, on its way and in the server. `None` where nobody asked.
    pub round_trip: Option<Duration>,

    /// A lower timeline that is part of this server's history, as far as that is known.
    pub ancestor: Option<Ancestor>,

    /// `None` where the server's timeline is certain, which is the usual case. Otherwise this replica may have moved to
    /// a higher timeline without telling (see [`Tracker`](crate::Tracker#privileges)), and only up to here is its
    /// history certainly that of `position.timeline`.
    pub certain_to: Option<Lsn>,
}

impl ServerState {
    /// A server at this position, with nothing else known of it.
    pub fn new(role: Role, position: Position) -> Self {
        Self { role, position, lag: None, received: None, round_trip: None, ancestor: None, certain_to: None }
    }

    /// Whether everything up to `wanted` is visible on this server.
    ///
    /// Numbers of one timeline are never held against those of another: after a failover the new history has the same
    /// numbers with other contents.
    pub fn compare(&self, wanted: Position) -> Verdict {
        if wanted.system_identifier != self.position.system_identifier {
            return Verdict::OtherSystem;
        }
        if wanted.timeline < self.position.timeline {
            return self.compare_with_ancestor(wanted);
        }
        let same_history = wanted.timeline == self.position.timeline;
        if same_history && wanted.lsn <= self.certain_to.unwrap_or(self.position.lsn) {
            Verdict::Reached
        } else if self.may_come(wanted, same_history) {
            Verdict::NotYet
        } else {
            Verdict::OtherTimeline
        }
    }

    /// Whether waiting has a chance of success for a position that is not certainly reached. A primary never joins a
    /// higher timeline, and a replica of uncertain timeline that is past the number will not tell more by waiting.
    fn may_come(&self, wanted: Position, same_history: bool) -> bool {
        match self.role {
            Role::Primary => same_history,
            Role::Replica => self.certain_to.is_none() || self.position.lsn < wanted.lsn,
        }
    }

    /// A position of a lower timeline survived the switch if this server had replayed it by then; otherwise it is
    /// lost, or nobody knows.
    fn compare_with_ancestor(&self, wanted: Position) -> Verdict {
        match self.ancestor {
            Some(ancestor) if ancestor.timeline == wanted.timeline && wanted.lsn <= ancestor.lsn => Verdict::Reached,
            _ => Verdict::OtherTimeline,
        }
    }
}

/// The part of a lower timeline that a server is known to have in its history.
///
/// The two fields are all there is to it; there will be no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The lower timeline.
    pub timeline: Timeline,

    /// The server had replayed the lower timeline up to here. On a promoted server this is where
    /// `pg_last_wal_replay_lsn()` froze, the end of that timeline.
    pub lsn: Lsn,
}

/// Whether a position is reached on a server.
///
/// Closed: whoever asks has to handle each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Everything up to the position is visible there.
    Reached,

    /// Not yet; the server is on its way.
    NotYet,

    /// The server's history is another one, or cannot be shown to be the position's: waiting does not help.
    OtherTimeline,

    /// The server belongs to another cluster: waiting does not help.
    OtherSystem,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(timeline: u32, lsn: u64) -> Position {
        Position { system_identifier: 7.into(), timeline: timeline.into(), lsn: lsn.into() }
    }

    fn replica(timeline: u32, lsn: u64) -> ServerState {
        ServerState::new(Role::Replica, position(timeline, lsn))
    }

    fn primary(timeline: u32, lsn: u64) -> ServerState {
        ServerState::new(Role::Primary, position(timeline, lsn))
    }

    fn after(ancestor: (u32, u64), state: ServerState) -> ServerState {
        let (timeline, lsn) = ancestor;
        ServerState { ancestor: Some(Ancestor { timeline: timeline.into(), lsn: lsn.into() }), ..state }
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
    fn replica_of_the_same_timeline_goes_by_what_it_replayed() {
        use Verdict::{NotYet, Reached};
        check(replica(2, 100), &[((2, 99), Reached), ((2, 100), Reached), ((2, 101), NotYet)]);
    }

    #[test]
    fn primary_of_the_same_timeline_goes_by_what_it_flushed() {
        use Verdict::{NotYet, Reached};
        check(primary(2, 100), &[((2, 99), Reached), ((2, 100), Reached), ((2, 101), NotYet)]);
    }

    #[test]
    fn replica_on_a_lower_timeline_is_on_its_way_whatever_its_numbers() {
        check(replica(1, 100), &[((2, 50), Verdict::NotYet), ((2, 100), Verdict::NotYet), ((3, 500), Verdict::NotYet)]);
    }

    #[test]
    fn primary_on_a_lower_timeline_never_gets_there() {
        check(primary(1, 100), &[((2, 50), Verdict::OtherTimeline), ((2, 500), Verdict::OtherTimeline)]);
    }

    #[test]
    fn higher_timeline_without_known_ancestor_is_another_history() {
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
    fn uncertain_replica_is_believed_as_far_as_it_is_certain() {
        use Verdict::{NotYet, OtherTimeline, Reached};
        check(
            uncertain_after(60, replica(2, 100)),
            &[((2, 60), Reached), ((2, 61), OtherTimeline), ((2, 100), OtherTimeline), ((2, 101), NotYet)],
        );
        check(uncertain_after(60, replica(2, 100)), &[((3, 100), OtherTimeline), ((3, 101), NotYet)]);
    }

    #[test]
    fn other_cluster_is_told_first() {
        let wanted = Position { system_identifier: 8.into(), ..position(1, 50) };
        for state in [replica(1, 100), primary(1, 100), after((1, 80), primary(2, 100))] {
            assert_eq!(state.compare(wanted), Verdict::OtherSystem);
        }
    }
}
