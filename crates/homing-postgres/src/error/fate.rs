//! [`Fate`], the fate of a failed call.

use std::fmt;

/// The fate of a failed call. Each [`Error`](crate::Error) has exactly one, and its page explains them in a table.
///
/// The enum is closed on purpose: a caller that decides by the fate has to handle each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// [`is_not_sent`](crate::Error::is_not_sent): nothing was executed.
    NotSent,

    /// [`is_rejected`](crate::Error::is_rejected): the call was executed, and nothing of it remains in the database. If a
    /// script or a procedure commits by itself, nothing remains that it wrote after its last commit.
    Rejected,

    /// [`is_outcome_unknown`](crate::Error::is_outcome_unknown): the call may be committed or not.
    OutcomeUnknown,

    /// [`is_committed`](crate::Error::is_committed): the call is committed, and its result could not be returned.
    Committed,

    /// [`is_function_failed`](crate::Error::is_function_failed): the named function ran and returned an error. Only the
    /// function knows what it had committed before.
    FunctionFailed,
}

impl Fate {
    /// Returns a stable name, for example for a metric's label: `not_sent`, `rejected`, `outcome_unknown`, `committed` or
    /// `function_failed`. [`Display`](fmt::Display) prints the names for people, with spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Committed => "committed",
            Self::FunctionFailed => "function_failed",
        }
    }

    /// Returns whether something of the call may be in the database, so that a repeated call may write it twice. Scripts
    /// and procedures that commit by themselves are not considered.
    pub fn may_have_written(self) -> bool {
        match self {
            Self::NotSent | Self::Rejected => false,
            Self::OutcomeUnknown | Self::Committed | Self::FunctionFailed => true,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::Rejected => "rejected",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Committed => "committed",
            Self::FunctionFailed => "function failed",
        })
    }
}
