//! [`Failure`], why the database gave no answer.

use std::fmt;

use homing_rpc::Reason;
use tonic::Status;

use crate::error::RETRY_AFTER;

/// Why the database gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was executed, or everything was rolled back.
    NotExecuted(Reason, String),

    /// Nothing was executed by this attempt, and no earlier one is committed or will be.
    Settled(Reason, String),

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
            format!("the database at {address} is a replica: its region is no longer the primary region"),
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::NotExecuted(Reason::BadArguments, message.into())
    }

    /// Says that no earlier attempt is committed or will be.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::NotExecuted(reason, message) => Self::Settled(reason, message),
            failure => failure,
        }
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
            Failure::Settled(reason, message) => reason.status_settled(message),
            // A status without a reason does not claim that nothing was executed.
            Failure::Unknown(message) => Self::unknown(message),
        }
    }
}
