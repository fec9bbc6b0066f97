//! The two questions that decide the way of a statement: does it write, and which server may run it.

/// Whether a statement writes.
///
/// Closed: these are all the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// It only reads.
    No,

    /// Only PostgreSQL can tell, and it has not yet.
    Maybe,

    /// It writes, or has to be treated as if it did.
    Yes,
}

/// Which server may run a statement.
///
/// Closed: these are all the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunsOn {
    /// Any server, also a replica.
    Any,

    /// The primary only.
    Primary,
}
