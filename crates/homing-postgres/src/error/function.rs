//! How errors of this crate become text, and errors of named functions.

use std::error;

use homing_rpc::FunctionError;

use super::Error;
use super::database::DatabaseError;

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
