//! The errors of transactions.

use crate::error::Error;
use crate::error::database::DatabaseError;

/// Why a transaction cannot go on.
#[derive(Debug, Clone)]
pub(crate) struct Aborted {
    message: String,
    is_timed_out: bool,
    database: Option<DatabaseError>,
}

impl Aborted {
    pub(crate) fn by(error: &Error) -> Self {
        Self { message: error.to_string(), is_timed_out: error.is_timed_out(), database: error.db().cloned() }
    }

    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_timed_out: false, database: None }
    }

    /// Makes the error of all later calls.
    pub(crate) fn error(&self) -> Error {
        let message =
            format!("the transaction was aborted by an earlier failure and nothing of it is stored: {}", self.message);
        let error = if self.is_timed_out { Error::timed_out(message) } else { Error::rejected(message) };
        match &self.database {
            Some(database) => error.with_database(database.clone()),
            None => error,
        }
    }
}

/// The error of a call through a handle whose transaction has ended.
pub(crate) fn over() -> Error {
    Error::misuse(
        "the transaction of this handle has ended: use the handle that began it, or begin another transaction",
    )
}

/// The error of a transaction that was lost before `COMMIT` was sent, and is rolled back.
pub(crate) fn lost(message: impl std::fmt::Display) -> Error {
    Error::not_sent(format!("the transaction was not committed and is rolled back: {message}"))
}

/// The error of a write in a transaction that only reads.
pub(crate) fn read_only(database: Option<DatabaseError>) -> Error {
    let error = Error::misuse(
        "the statement writes, but the transaction only reads (Access::ReadOnly): begin it without Access::ReadOnly",
    );
    match database {
        Some(database) => error.with_database(database),
        None => error,
    }
}
