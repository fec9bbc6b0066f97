//! A broken promise.

use crate::faults::clock::Micros;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// When the operation ended, or began if it has no end. `None` if it was found in what is stored in the end.
    pub(crate) at: Option<Micros>,
    pub(crate) evidence: String,
}

/// A kind of violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An acknowledged write is not stored, or a write was read and is not stored.
    Lost,
    /// A write is stored more than once.
    Doubled,
    /// A read does not show a write that its session was told of before.
    Stale,
    /// A read does not show what an earlier read of its session showed.
    BackInTime,
    /// The balances do not have their sum, or are not what the stored transfers make them.
    SumBroken,
    /// A write that was said not to be executed, or to be rejected, is stored, or was read.
    FateWrong,
    /// The outcome of a protected write is unknown, although nothing kept its region from the primary.
    Unsettled,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Lost, Self::Doubled, Self::Stale, Self::BackInTime, Self::SumBroken, Self::FateWrong, Self::Unsettled];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Stale => "stale",
            Self::BackInTime => "back in time",
            Self::SumBroken => "sum broken",
            Self::FateWrong => "fate wrong",
            Self::Unsettled => "unsettled",
        }
    }
}

impl Violation {
    pub(super) fn new(kind: Kind, at: impl Into<Option<Micros>>, evidence: impl Into<String>) -> Self {
        Self { kind, at: at.into(), evidence: evidence.into() }
    }
}
