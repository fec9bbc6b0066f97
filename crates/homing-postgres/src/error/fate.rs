use std::fmt;

/// What became of a call that failed; see [`Error`](crate::Error), which is exactly one of these.
///
/// Closed: whoever decides by it decides for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// [`is_not_sent`](crate::Error::is_not_sent): nothing was executed.
    NotSent,

    /// [`is_rejected`](crate::Error::is_rejected): it was executed, and nothing of it remains in the database. Of a script
    /// or a procedure that commits by itself: nothing since its last commit.
    Rejected,

    /// [`is_outcome_unknown`](crate::Error::is_outcome_unknown): it may be committed or not.
    OutcomeUnknown,

    /// [`is_committed`](crate::Error::is_committed): it is committed, and its result cannot be given as asked.
    Committed,

    /// [`is_function_failed`](crate::Error::is_function_failed): the function says what it wrote before.
    FunctionFailed,
}

impl Fate {
    /// As a name, for example of a metric's label. It is not going to change: `not_sent`, `rejected`, `outcome_unknown`,
    /// `committed`, `function_failed`. People read [`Display`](fmt::Display), which has spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Committed => "committed",
            Self::FunctionFailed => "function_failed",
        }
    }

    /// Whether something of the call may be in the database: whoever makes it again may do it twice. Scripts and procedures
    /// with transaction commands of their own are not looked through.
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
