//! Conversions between the errors of this crate, the errors of homing-rpc, and text.

use std::error;

use homing_rpc::{FunctionError, Reason};

use super::database::DatabaseError;
use super::{AfterCommit, Error, ErrorKind};

impl From<homing_rpc::Error> for Error {
    fn from(error: homing_rpc::Error) -> Self {
        let kind = if error.is_function_failed() {
            ErrorKind::Function
        } else if error.is_executed() {
            ErrorKind::Decode
        } else if error.is_outcome_unknown() {
            ErrorKind::OutcomeUnknown
        } else if error.is_misuse() || error.is_too_large() || error.is_bad_arguments() {
            ErrorKind::Misuse
        } else if error.is_not_primary() {
            ErrorKind::NotPrimary
        } else if error.reason() == Some(Reason::StaleStatement) {
            ErrorKind::Stale
        } else {
            ErrorKind::NotSent
        };
        let mut wrapped = Self::new(kind, error.to_string());
        if kind == ErrorKind::Decode {
            // The function ran to its end. Only its result cannot be read.
            wrapped.0.committed = Some(AfterCommit { position: None });
        }
        wrapped.0.database = error.details().and_then(DatabaseError::from_details);
        wrapped.with_source(error)
    }
}

impl From<Error> for FunctionError {
    /// Keeps PostgreSQL's own error, if there is one, so that the function's caller sees it too.
    fn from(error: Error) -> Self {
        match error.db().map(DatabaseError::to_details) {
            Some(details) => Self::with_details(error.to_string(), details),
            None => Self::from_error(&error),
        }
    }
}

/// Returns the message of an error with those of its causes, for places that can only pass text on.
pub(crate) fn with_causes(error: &dyn error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}
