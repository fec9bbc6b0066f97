//! Turns the primary's rejections and failures into errors.

use std::error::Error as _;

use homing_proto::v1 as proto;
use homing_rpc::Reason;
use proto::rejection::Cause;

use crate::error::Error;
use crate::error::database::DatabaseError;
use crate::executor::Failure;

/// Returns the error of a transaction or a copy that could not begin: nothing of it is stored, whatever was lost on the way.
pub(super) fn not_begun(subject: &str, error: homing_rpc::Error) -> Error {
    if !error.is_outcome_unknown() {
        return error.into();
    }
    found_no_room(&error)
        .unwrap_or_else(|| Error::not_sent(format!("the {subject} could not begin and nothing is stored: {error}")))
}

/// Returns the refusal of a request of which nothing remains, if the peers had no room for it until its time was over.
pub(super) fn found_no_room(error: &homing_rpc::Error) -> Option<Error> {
    let refusal = error.source()?.downcast_ref::<homing_rpc::Error>()?;
    refusal.is_overloaded().then(|| Error::overloaded(refusal.to_string()))
}

pub(crate) fn rejected(rejection: proto::Rejection, place: &str) -> Error {
    let statement = rejection.statement;
    refused(rejection, place).at_statement(statement)
}

fn refused(rejection: proto::Rejection, place: &str) -> Error {
    match rejection.cause {
        Some(Cause::DatabaseError(error)) => {
            let error = DatabaseError::from_proto(error);
            match rejection.statement {
                Some(index) if index > 0 => {
                    Error::rejected_by(error, format_args!("{place} in statement {}", index + 1))
                }
                _ => Error::rejected_by(error, place),
            }
        }
        Some(Cause::DeadlineExceeded(_)) => Error::timed_out(format!(
            "{place} did not finish the statement in time and cancelled it, nothing is written: find out what it \
             waits for, or raise call_timeout"
        )),
        Some(Cause::OpenTransaction(_)) => Error::rejected(format!(
            "{place} rolled back the transaction that the script began and did not end: end the script with COMMIT"
        )),
        Some(Cause::UnexpectedRows(rows)) => unexpected(rows, place),
        Some(Cause::NoReferencedRow(_)) => Error::not_found(format!(
            "{place} rolled the batch back, nothing is written: the earlier step whose column it uses returned no row"
        )),
        Some(Cause::KeyReused(_)) => Error::misuse(
            "the key belongs to another write, with other statements, values, schema or settings: use a key for one write only",
        ),
        Some(Cause::KeySettled(_)) => Error::rejected(format!(
            "{place} rolled it back: somebody has asked for the outcome of its key meanwhile, and was told that it is not \
             committed; call again"
        )),
        Some(Cause::Unprotected(_)) => Error::outcome_unknown(format!(
            "{place} cannot tell what became of an earlier attempt: the database has no table of outcomes, or the statement \
             cannot run in a transaction"
        )),
        Some(Cause::RowTooLarge(row)) => Error::misuse(format!(
            "{place} has a row of {} bytes, but a message may have {}: return less, or read it in a named function",
            row.bytes, row.max_bytes
        )),
        None => Error::rejected(format!("{place} rejected the statement for a reason that this build cannot read")),
    }
}

fn unexpected(rows: proto::UnexpectedRows, place: &str) -> Error {
    let proto::UnexpectedRows { expected, found } = rows;
    let message = format!("{place} rolled the batch back, nothing is written: expected {expected} rows, found {found}");
    match found {
        0 => Error::not_found(message),
        found if found > expected => Error::too_many_rows(message),
        _ => Error::rejected(message),
    }
}

pub(crate) fn failed(failure: Failure, place: &str) -> Error {
    use Failure::{NotExecuted, Settled, Unknown};
    match failure {
        NotExecuted(Reason::NotPrimary, message) => Error::not_primary(message),
        NotExecuted(Reason::HistoryLost, message) | Settled(Reason::HistoryLost, message) => {
            Error::history_lost(message)
        }
        NotExecuted(Reason::StaleStatement, message) | Settled(Reason::StaleStatement, message) => {
            Error::stale(message)
        }
        NotExecuted(Reason::KeySettled, message) => Error::key_settled(message),
        NotExecuted(Reason::Unprotected, message) => Error::unprotected(message),
        NotExecuted(Reason::BadArguments, message) => Error::misuse(message),
        NotExecuted(Reason::Overloaded, message) => Error::overloaded(message),
        NotExecuted(_, message) | Settled(_, message) => {
            Error::not_sent(format!("{place} executed nothing: {message}"))
        }
        Unknown(message) => Error::outcome_unknown(format!("{place} may have committed it: {message}")),
    }
}
