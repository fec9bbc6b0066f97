//! [`PositionKind`], by what positions are told.

use std::fmt;

/// By what the servers of a cluster tell positions.
///
/// Closed: there is no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PositionKind {
    /// By their place in the write-ahead log. The role may call PostgreSQL's functions that tell it.
    Lsn,

    /// By the ids of transactions. Needs none of the functions that tell places in the log, which some managed databases do
    /// not have, such as Amazon Aurora, and some administrators keep from the role.
    ///
    /// A write costs the same. After a read of the primary or of another replica, the next read of a replica has a
    /// transaction committed on the primary, whose id stands for all that was visible there.
    Transaction,
}

impl fmt::Display for PositionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lsn => "lsn",
            Self::Transaction => "transaction",
        })
    }
}
