//! [`Ended`], how an attempt of a write with a key ended, and what follows. Without IO.

use super::known::Known;

/// How an attempt ended, as far as its key matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is committed, or its answer tells what became of all attempts.
    Known,

    /// Nothing of it remains, and its caller does not try again.
    Failed,

    /// Nothing of it remains, or it may be committed. Its caller tries again.
    Again,

    /// Its claim was refused, so nothing of it remains.
    Taken,

    /// The connection was lost over its commit. Its results are known, and were sent with its claim if `is_kept`.
    Interrupted { is_kept: bool },
}

/// What the executor found when it settled the key of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement<R = Vec<u8>> {
    Told(Known<R>),

    /// There is no table.
    Unprotected,

    /// The database did not answer, or is a replica.
    Failed,
}

/// What an attempt reports after it has settled its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<R = Vec<u8>> {
    /// That it is committed, with its own results.
    Committed,

    /// That an earlier attempt is committed, with the result of that one.
    CommittedBefore(Option<R>),

    /// Its failure, and that no attempt before is committed or will be.
    NotCommitted,

    /// That another request has used the key.
    Reused,

    /// That what became of earlier attempts cannot be known.
    Unprotected,

    /// Why the key could not be settled.
    SettleFailed,

    /// That it may be committed.
    Unknown,
}

impl Ended {
    /// Returns whether the executor settles the key before it answers. `again` tells whether an earlier attempt may be
    /// committed, or be under way.
    pub(crate) fn settles(self, again: bool) -> bool {
        match self {
            Self::Taken | Self::Interrupted { .. } => true,
            Self::Failed => again,
            Self::Known | Self::Again => false,
        }
    }

    /// Returns what the attempt reports after it has settled its key.
    pub(crate) fn answer<R>(self, settlement: Settlement<R>) -> Answer<R> {
        match (self, settlement) {
            // A result that is kept is that of the committed attempt, which may be another one. If none is kept, the results of
            // this attempt were not sent either: no other attempt is under way then, unless they were too large.
            (Self::Interrupted { is_kept: false }, Settlement::Told(Known::Committed(None))) => Answer::Committed,
            (_, Settlement::Told(Known::Committed(result))) => Answer::CommittedBefore(result),
            (_, Settlement::Told(Known::Settled(_) | Known::Nothing)) => Answer::NotCommitted,
            (Self::Interrupted { .. }, _) => Answer::Unknown,
            (_, Settlement::Told(Known::Reused)) => Answer::Reused,
            (_, Settlement::Unprotected) => Answer::Unprotected,
            (_, Settlement::Failed) => Answer::SettleFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_settled_if_another_attempt_counts() {
        let table = [
            (Ended::Known, false, false),
            (Ended::Again, false, false),
            (Ended::Failed, false, true),
            (Ended::Taken, true, true),
            (Ended::Interrupted { is_kept: true }, true, true),
        ];
        for (ended, first, again) in table {
            assert_eq!((ended.settles(false), ended.settles(true)), (first, again), "{ended:?}");
        }
    }

    #[test]
    fn settlement_decides_the_answer() {
        use Known::{Committed, Nothing, Reused, Settled};
        use Settlement::{Told, Unprotected};
        let table = [
            (Told(Committed(Some(7))), Answer::CommittedBefore(Some(7)), Answer::CommittedBefore(Some(7))),
            (Told(Committed(None)), Answer::CommittedBefore(None), Answer::CommittedBefore(None)),
            (Told(Settled(1)), Answer::NotCommitted, Answer::NotCommitted),
            (Told(Nothing), Answer::NotCommitted, Answer::NotCommitted),
            (Told(Reused), Answer::Reused, Answer::Unknown),
            (Unprotected, Answer::Unprotected, Answer::Unknown),
            (Settlement::Failed, Answer::SettleFailed, Answer::Unknown),
        ];
        for (settlement, failed, interrupted) in table {
            assert_eq!(Ended::Failed.answer(settlement), failed, "{settlement:?}");
            assert_eq!(Ended::Taken.answer(settlement), failed, "{settlement:?}");
            assert_eq!(Ended::Interrupted { is_kept: true }.answer(settlement), interrupted, "{settlement:?}");
        }
        let unkept = Ended::Interrupted { is_kept: false };
        assert_eq!(unkept.answer(Told(Committed(None::<u8>))), Answer::Committed);
        assert_eq!(unkept.answer(Told(Committed(Some(7)))), Answer::CommittedBefore(Some(7)));
    }
}
