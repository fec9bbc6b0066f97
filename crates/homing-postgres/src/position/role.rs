//! [`Role`], primary or replica.

use std::fmt;

/// The role of a server, as it reports it (`pg_is_in_recovery()`).
///
/// The enum is closed on purpose: PostgreSQL has no third state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes writes.
    Primary,

    /// Replays the write-ahead log of another server and answers reads only.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}
