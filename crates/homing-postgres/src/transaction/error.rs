//! What goes wrong with a transaction.

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

    /// The error of everything that follows.
    pub(crate) fn error(&self) -> Error {
        let message =
            format!("the transaction was aborted before and nothing of it is stored, because {}", self.message);
        let error = if self.is_timed_out { Error::timed_out(message) } else { Error::rejected(message) };
        match &self.database {
            Some(database) => error.with_database(database.clone()),
            None => error,
        }
    }
}

/// The handle is older than its transaction.
pub(crate) fn over() -> Error {
    Error::misuse("the transaction of this handle has ended: use the handle that began it, or a transaction of its own")
}

/// It was not committed, and so it is rolled back.
pub(crate) fn lost(message: impl std::fmt::Display) -> Error {
    Error::not_sent(format!("the transaction is rolled back, it was not committed: {message}"))
}

/// A write in a transaction that only reads.
pub(crate) fn read_only(database: Option<DatabaseError>) -> Error {
    let error = Error::misuse(
        "the statement writes, and the transaction is one that only reads (Access::ReadOnly): use one that writes",
    );
    match database {
        Some(database) => error.with_database(database),
        None => error,
    }
}
