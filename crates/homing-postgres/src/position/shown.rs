//! [`Shown`], what a server had shown to a read.

use super::Timeline;
use super::state::{ServerId, ServerState};
use super::transaction_id::TransactionId;

/// What a server had shown by the end of a read: transactions with lower ids than this one, and no others.
///
/// Another server shows all of them too if all transactions with lower ids have ended there. The ids of the last transactions
/// alone would not tell, since commits are not in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) server: ServerId,
    pub(crate) timeline: Timeline,
    pub(crate) before: TransactionId,
}

impl Shown {
    /// Returns what a server shows now. `None` if the state is not one of a probe, or leaves the timeline in doubt.
    pub(crate) fn by(state: &ServerState) -> Option<Self> {
        let (server, before) = state.server.zip(state.next_transaction)?;
        (!state.in_doubt).then_some(Self { server, timeline: state.position.timeline, before })
    }

    /// Returns whether the server of this state shows all of it. The server itself does: replay only moves forward while it
    /// runs.
    pub(crate) fn is_shown_by(&self, state: &ServerState) -> bool {
        let has_finished = state.finished_before.is_some_and(|finished| self.before <= finished);
        let is_certain = !state.in_doubt && state.position.timeline == self.timeline;
        state.server == Some(self.server) || (is_certain && has_finished)
    }

    /// Returns whether everything in `other` is in this one.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        self.server == other.server && self.before >= other.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::role::Role;
    use crate::position::tests::position;

    fn state(server: i64, timeline: u32, finished: u64, next: u64) -> ServerState {
        let id = ServerId { system_identifier: 7.into(), started_at: server };
        ServerState {
            server: Some(id),
            finished_before: Some(finished.into()),
            next_transaction: Some(next.into()),
            ..ServerState::new(Role::Replica, position(timeline, 0))
        }
    }

    #[test]
    fn other_server_has_to_have_finished_all() {
        let shown = Shown::by(&state(1, 1, 890, 900)).unwrap();
        let in_doubt = ServerState { in_doubt: true, ..state(2, 1, 900, 900) };
        for (state, expected) in [
            (state(1, 1, 890, 900), true),
            (state(1, 1, 880, 890), true),
            (state(2, 1, 899, 950), false),
            (state(2, 1, 900, 900), true),
            (state(2, 2, 900, 900), false),
            (in_doubt, false),
        ] {
            assert_eq!(shown.is_shown_by(&state), expected, "{state:?}");
        }
        assert_eq!(Shown::by(&in_doubt), None);
        let later = Shown::by(&state(1, 1, 890, 901)).unwrap();
        assert!(later.includes(&shown) && !shown.includes(&later));
    }
}
