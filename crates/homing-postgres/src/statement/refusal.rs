//! What follows from a database error, by its SQLSTATE.

use tokio_postgres::error::SqlState;

use crate::error::database::DatabaseError;
use crate::position::role::Role;

/// Why a server did not answer a statement that only reads.
///
/// Closed: the plan of a read has an answer to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The statement writes, and the server is a replica.
    Writes,

    /// The server is a replica. Only the primary can tell whether the statement fails: the replica may be behind, or may
    /// refuse it because it is a replica.
    Unknown,

    /// If it is asked again, this server may answer: replay was in the way, a plan was stale, the connection was lost.
    Transient,

    /// No connection could be made.
    Unreachable,

    /// The server is a primary of an earlier timeline than the session has seen.
    OldPrimary,

    /// The error is the answer.
    Final,
}

impl Refusal {
    /// Classifies the error of a server that has this role, as far as is known.
    ///
    /// A replica may say yes, but only the primary says no: an error of a replica may come from being one, or from being
    /// behind. So the primary is asked, unless the error is a time limit. The statement has used it up, and would use it up
    /// on the primary too.
    pub(crate) fn of(error: &DatabaseError, role: Option<Role>) -> Self {
        let is_replica = role != Some(Role::Primary);
        let code = error.code();
        if error.is_stale_plan() || is_replica && conflicts_with_recovery(code) {
            Self::Transient
        } else if !is_replica || code == &SqlState::QUERY_CANCELED {
            Self::Final
        } else if says_that_it_writes(error) {
            Self::Writes
        } else {
            Self::Unknown
        }
    }
}

/// Returns whether the error says that the statement writes in a place where writing is not allowed.
pub(crate) fn says_that_it_writes(error: &DatabaseError) -> bool {
    error.code() == &SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Returns whether replay removed the rows that the query was reading, or the replica is shutting down.
/// <https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CONFLICT>
fn conflicts_with_recovery(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
    ]
    .contains(code)
}

#[cfg(test)]
mod tests {
    use homing_proto::v1 as proto;

    use super::*;

    #[test]
    fn refusals_follow_from_code_and_role() {
        let table = [
            ("25006", Refusal::Writes, Refusal::Final),
            ("42P01", Refusal::Unknown, Refusal::Final),
            ("42883", Refusal::Unknown, Refusal::Final),
            ("3F000", Refusal::Unknown, Refusal::Final),
            ("40001", Refusal::Transient, Refusal::Final),
            ("40P01", Refusal::Transient, Refusal::Final),
            ("57014", Refusal::Final, Refusal::Final),
            ("57P01", Refusal::Transient, Refusal::Final),
            ("57P03", Refusal::Transient, Refusal::Final),
            ("22012", Refusal::Unknown, Refusal::Final),
            ("0A000", Refusal::Unknown, Refusal::Final),
            ("22P02", Refusal::Unknown, Refusal::Final),
            ("42501", Refusal::Unknown, Refusal::Final),
            ("55000", Refusal::Unknown, Refusal::Final),
            ("XX000", Refusal::Unknown, Refusal::Final),
        ];
        for (code, on_replica, on_primary) in table {
            let error = DatabaseError::from_proto(proto::DatabaseError { code: code.into(), ..Default::default() });
            assert_eq!(Refusal::of(&error, Some(Role::Replica)), on_replica, "{code} on a replica");
            assert_eq!(Refusal::of(&error, None), on_replica, "{code} on a server that may be one");
            assert_eq!(Refusal::of(&error, Some(Role::Primary)), on_primary, "{code} on the primary");
        }
    }
}
