//! Errors of settings that `homing-rpc` rejects.

use homing_postgres::Error;

pub(super) fn wrong(error: homing_rpc::Error) -> Error {
    Error::configuration(error.to_string()).with_cause(error)
}

pub(super) fn at(variable: &str, error: homing_rpc::Error) -> Error {
    Error::configuration(format!("{variable}: {error}")).with_cause(error)
}
