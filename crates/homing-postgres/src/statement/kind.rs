//! The two questions that decide the way of a statement: does it write, and which server may run it.

use crate::position::transaction_id::TransactionId;

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

/// What PostgreSQL says that a transaction has written.
///
/// Closed: these are all the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing: it has no transaction id.
    Nothing,

    /// Something: it has this transaction id.
    By(TransactionId),

    /// PostgreSQL was not asked.
    Unknown,
}

/// What PostgreSQL is asked besides the statements of a transaction. None of it costs a further round trip.
///
/// Closed: each asks for more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Nothing,

    /// Whether it has written something.
    Transaction,

    /// Also for the position.
    Position,
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
