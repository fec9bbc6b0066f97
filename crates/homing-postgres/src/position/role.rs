//! [`Role`], what a server is.

use std::fmt;

/// What a server says it is (`pg_is_in_recovery()`).
///
/// Closed: PostgreSQL knows no third state.
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
