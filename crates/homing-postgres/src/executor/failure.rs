use std::fmt;

use homing_rpc::Reason;
use tonic::Status;

use crate::error::RETRY_AFTER;

/// Why there is no answer from the database.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was executed, or all of it was undone.
    NotExecuted(Reason, String),

    /// The connection was lost while a commit was under way.
    Unknown(String),
}

impl Failure {
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::NotExecuted(Reason::DatabaseUnavailable, message.into())
    }

    pub(crate) fn not_primary(address: impl fmt::Display) -> Self {
        Self::NotExecuted(
            Reason::NotPrimary,
            format!("the database at {address} is a replica: its region is not the primary one any more"),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::NotExecuted(Reason::BadArguments, message.into())
    }

    pub(crate) fn stale(message: impl Into<String>) -> Self {
        Self::NotExecuted(Reason::StaleStatement, message.into())
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotExecuted(Reason::Overloaded, message) => {
                Reason::Overloaded.status_retry_after(message, RETRY_AFTER)
            }
            Failure::NotExecuted(reason, message) => reason.status(message),
            // Without a reason it does not say that nothing was executed.
            Failure::Unknown(message) => Self::unknown(message),
        }
    }
}
