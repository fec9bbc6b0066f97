//! [`Bug`], a mistake that is made on purpose, to see that the simulation finds it.

/// A mistake in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A write is committed before its key is claimed, in another transaction.
    ClaimsAfterCommit,

    /// A key is claimed whatever its number of settlements is.
    IgnoresFence,

    /// An attempt runs however often its key was settled since it was sent.
    IgnoresToldFence,

    /// Settling a key that was settled before changes nothing.
    SettlesOnce,

    /// A repeated attempt reports its failure without settling its key.
    FailsUnsettled,

    /// A commit whose connection was lost counts as not executed.
    InterruptedIsNotExecuted,

    /// Any refusal counts as if it told what became of the attempts before.
    ForgetsUnknown,

    /// Numbers of different timelines are compared with each other.
    MixesTimelines,

    /// A read of a replica is not remembered.
    ForgetsReads,

    /// A write does not move the floor of its session.
    ForgetsWrites,

    /// A primary does not compare its history with what the session has seen.
    IgnoresHistory,
}

impl Bug {
    pub(super) const ALL: [Self; 11] = [
        Self::ClaimsAfterCommit,
        Self::IgnoresFence,
        Self::IgnoresToldFence,
        Self::SettlesOnce,
        Self::FailsUnsettled,
        Self::InterruptedIsNotExecuted,
        Self::ForgetsUnknown,
        Self::MixesTimelines,
        Self::ForgetsReads,
        Self::ForgetsWrites,
        Self::IgnoresHistory,
    ];
}
