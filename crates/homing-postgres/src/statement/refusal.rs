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

    /// The server is a replica, and its schema may be too old for the statement.
    Unknown,

    /// The same server may answer if it is asked again: replay was in the way, a plan was stale, the connection was lost.
    Transient,

    /// No connection could be made.
    Unreachable,

    /// The error is the answer.
    Final,
}

impl Refusal {
    /// Classifies the error of a server that has this role, as far as is known.
    pub(crate) fn of(error: &DatabaseError, role: Option<Role>) -> Self {
        let is_replica = role != Some(Role::Primary);
        let code = error.code();
        if is_replica && says_that_it_writes(error) {
            Self::Writes
        } else if is_replica && may_be_unknown(code) {
            Self::Unknown
        } else if error.is_stale_plan() || is_replica && conflicts_with_recovery(code) {
            Self::Transient
        } else {
            Self::Final
        }
    }
}

/// Whether the error says that the statement writes where nothing may be written.
pub(crate) fn says_that_it_writes(error: &DatabaseError) -> bool {
    error.code() == &SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether the error names something that a newer schema may have: DDL that was not replayed yet.
pub(crate) fn may_be_unknown(code: &SqlState) -> bool {
    [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_PARAMETER,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::DATATYPE_MISMATCH,
        SqlState::INVALID_CATALOG_NAME,
    ]
    .contains(code)
}

/// Whether replay took away what the query was reading, or the replica is shutting down.
/// <https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CONFLICT>
fn conflicts_with_recovery(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::QUERY_CANCELED,
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
            ("57014", Refusal::Transient, Refusal::Final),
            ("57P01", Refusal::Transient, Refusal::Final),
            ("57P03", Refusal::Transient, Refusal::Final),
            ("22012", Refusal::Final, Refusal::Final),
            ("0A000", Refusal::Final, Refusal::Final),
        ];
        for (code, on_replica, on_primary) in table {
            let error = DatabaseError::from_proto(proto::DatabaseError { code: code.into(), ..Default::default() });
            assert_eq!(Refusal::of(&error, Some(Role::Replica)), on_replica, "{code} on a replica");
            assert_eq!(Refusal::of(&error, None), on_replica, "{code} on a server that may be one");
            assert_eq!(Refusal::of(&error, Some(Role::Primary)), on_primary, "{code} on the primary");
        }
    }
}
