//! How the failure of a named function carries PostgreSQL's own error home.

use homing_proto::v1 as proto;
use homing_rpc::{Details, FunctionError};
use prost::Message;

use super::Error;
use super::database::DatabaseError;

/// The name of `homing.v1.DatabaseError` in the details of a failure.
const DATABASE_ERROR: &str = "homing.v1.DatabaseError";

impl From<Error> for FunctionError {
    /// The error as the function's caller will see it: with PostgreSQL's own, if there is one.
    fn from(error: Error) -> Self {
        function_error(&error)
    }
}

fn function_error(error: &Error) -> FunctionError {
    match error.db() {
        Some(database) => {
            let bytes = proto::DatabaseError::from(database.clone()).encode_to_vec();
            FunctionError::with_details(error.to_string(), Details::new(DATABASE_ERROR, bytes))
        }
        None => FunctionError::from_error(error),
    }
}

/// PostgreSQL's own error from the details of a failure, if that is what they are.
pub(crate) fn database_error(details: &Details) -> Option<DatabaseError> {
    if details.type_name != DATABASE_ERROR {
        return None;
    }
    proto::DatabaseError::decode(details.bytes.as_ref()).ok().map(DatabaseError::from)
}

/// The message of an error with those of its causes: for where only text can go on.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}
