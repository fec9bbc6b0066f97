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

/// SQL that tells whether a server is a replica. With `options=-c homing.role=replica` in a connection string, a primary plays
/// one, so that a developer's only database serves two regions: connections are read-only, and writes are forwarded.
pub(crate) const IS_REPLICA: &str =
    "(pg_is_in_recovery() or coalesce(current_setting('homing.role', true), '') = 'replica')";
