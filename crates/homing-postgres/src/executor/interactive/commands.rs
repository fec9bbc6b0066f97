//! The commands that begin an interactive transaction and set its savepoints.

use homing_proto::v1 as proto;
use proto::begin_transaction::Isolation;
use proto::savepoint_command::Command;

/// Returns the BEGIN of a transaction. A read-only one reads from one snapshot. Where the caller asks for nothing, the
/// defaults of the role and the database stand: a database may be frozen by them, or serializable.
pub(crate) fn begin_sql(begin: &proto::BeginTransaction) -> String {
    let isolation = match (begin.isolation(), begin.read_only) {
        (Isolation::Serializable, _) => " ISOLATION LEVEL SERIALIZABLE",
        (Isolation::RepeatableRead, _) | (_, true) => " ISOLATION LEVEL REPEATABLE READ",
        (Isolation::ReadCommitted, false) => " ISOLATION LEVEL READ COMMITTED",
        (Isolation::Unspecified, false) => "",
    };
    let access = match begin {
        proto::BeginTransaction { read_only: true, .. } => " READ ONLY",
        proto::BeginTransaction { read_write: true, .. } => " READ WRITE",
        _ => "",
    };
    format!("BEGIN{isolation}{access}")
}

pub(crate) fn savepoint_sql(command: &Command) -> String {
    match command {
        Command::Set(number) => format!("SAVEPOINT homing_{number};"),
        Command::Release(number) => format!("RELEASE SAVEPOINT homing_{number};"),
        Command::RollBack(number) => {
            format!("ROLLBACK TO SAVEPOINT homing_{number}; RELEASE SAVEPOINT homing_{number};")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_transaction_is_one_snapshot() {
        let sql = |isolation: Isolation, read_only| {
            begin_sql(&proto::BeginTransaction {
                isolation: isolation.into(),
                read_only,
                ..proto::BeginTransaction::default()
            })
        };
        assert_eq!(sql(Isolation::Unspecified, false), "BEGIN");
        assert_eq!(sql(Isolation::ReadCommitted, false), "BEGIN ISOLATION LEVEL READ COMMITTED");
        assert_eq!(sql(Isolation::ReadCommitted, true), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        assert_eq!(sql(Isolation::Serializable, true), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY");
    }
}
