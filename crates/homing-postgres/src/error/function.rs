//! Conversions between the errors of this crate, the errors of homing-rpc, and text.

use std::error;

use std::time::Duration;

use homing_proto::v1 as proto;
use homing_rpc::{Causes, Details, FunctionError, Reason};
use prost::Message;
use proto::call_failure::Kind;

use super::database::DatabaseError;
use super::fate::Fate;
use super::{AfterCommit, Error, ErrorKind, Failure};

impl From<homing_rpc::Error> for Error {
    fn from(error: homing_rpc::Error) -> Self {
        let failure = error.details().and_then(from_details).unwrap_or_default();
        let kind = if error.is_function_failed() {
            kind_of(failure.kind())
        } else if error.is_executed() {
            ErrorKind::Decode
        } else if error.is_outcome_unknown() {
            ErrorKind::OutcomeUnknown
        } else if error.is_misuse()
            || error.is_too_large()
            || error.is_bad_arguments()
            || error.reason() == Some(Reason::Disabled)
        {
            ErrorKind::Misuse
        } else if error.is_not_primary() {
            ErrorKind::NotPrimary
        } else if error.reason() == Some(Reason::StaleStatement) {
            ErrorKind::Stale
        } else if error.reason() == Some(Reason::KeySettled) {
            ErrorKind::KeySettled
        } else if error.reason() == Some(Reason::Unprotected) {
            ErrorKind::Unprotected
        } else if error.reason() == Some(Reason::HistoryLost) {
            ErrorKind::HistoryLost
        } else {
            ErrorKind::NotSent
        };
        let mut wrapped = Self::new(kind, error.to_string());
        if matches!(kind, ErrorKind::Decode | ErrorKind::AfterCommit | ErrorKind::NotReplicated) {
            // The function ran to its end. Only its result cannot be read.
            wrapped.0.committed = Some(AfterCommit { position: None });
        }
        wrapped.0.database = failure.database_error.map(DatabaseError::from_proto);
        wrapped.0.client_message = failure.client_message;
        wrapped.0.failure = failure.failure.map(|value| Failure { type_name: failure.failure_type, value });
        wrapped.0.retry_after = failure.retry_after_millis.map(Duration::from_millis);
        wrapped.with_source(error)
    }
}

impl From<Error> for FunctionError {
    /// Keeps PostgreSQL's own error, and when to try again, so that the function's caller sees them too. What the function
    /// wrote before is not known.
    fn from(error: Error) -> Self {
        error.into_failure(Kind::Unspecified)
    }
}

impl Error {
    /// Returns the error of a function that ran in one transaction. The transaction was rolled back unless this error says
    /// something else, so the function's caller gets an error with this fate.
    #[doc(hidden)]
    pub fn of_transactional_function(self) -> FunctionError {
        if self.is_unprotected() {
            return FunctionError::refused(Reason::Unprotected, self.to_string());
        }
        if self.is_key_settled() {
            return FunctionError::refused(Reason::KeySettled, self.to_string());
        }
        let kind = match self.fate() {
            Fate::Committed if self.is_not_replicated() => Kind::NotReplicated,
            Fate::Committed => Kind::Committed,
            Fate::OutcomeUnknown => Kind::OutcomeUnknown,
            // A function that it called may have written something.
            Fate::FunctionFailed if self.rpc().is_some() => Kind::Unspecified,
            Fate::NotSent
                if matches!(self.0.kind, ErrorKind::NotSent | ErrorKind::HistoryLost | ErrorKind::NotPrimary) =>
            {
                Kind::NotSent
            }
            Fate::NotSent | Fate::Rejected | Fate::FunctionFailed => match self.0.kind {
                ErrorKind::NotFound => Kind::NotFound,
                ErrorKind::Outdated => Kind::Outdated,
                ErrorKind::TooManyRows => Kind::TooManyRows,
                ErrorKind::TimedOut => Kind::TimedOut,
                _ => Kind::Rejected,
            },
        };
        self.into_failure(kind)
    }

    fn into_failure(self, kind: Kind) -> FunctionError {
        let own = self.0.failure.clone();
        let failure = proto::CallFailure {
            failure_type: own.as_ref().map(|failure| failure.type_name.clone()).unwrap_or_default(),
            failure: own.map(|failure| failure.value),
            kind: kind.into(),
            database_error: self.db().map(DatabaseError::to_proto),
            client_message: self.0.client_message.clone(),
            retry_after_millis: self.retry_after().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        };
        let message = with_causes(&self);
        if failure == proto::CallFailure::default() {
            return FunctionError::new(message);
        }
        FunctionError::with_details(message, Details::new(DETAILS_TYPE, failure.encode_to_vec()))
    }
}

fn kind_of(kind: Kind) -> ErrorKind {
    match kind {
        Kind::Unspecified => ErrorKind::Function,
        Kind::NotSent => ErrorKind::NotSent,
        Kind::Rejected => ErrorKind::Rejected,
        Kind::NotFound => ErrorKind::NotFound,
        Kind::Outdated => ErrorKind::Outdated,
        Kind::TooManyRows => ErrorKind::TooManyRows,
        Kind::TimedOut => ErrorKind::TimedOut,
        Kind::OutcomeUnknown => ErrorKind::OutcomeUnknown,
        Kind::Committed => ErrorKind::AfterCommit,
        Kind::NotReplicated => ErrorKind::NotReplicated,
    }
}

/// Decodes the details of a failed function. `None` if they are the application's own.
fn from_details(details: &Details) -> Option<proto::CallFailure> {
    let bytes = (details.type_name == DETAILS_TYPE).then_some(details.bytes.as_ref())?;
    proto::CallFailure::decode(bytes).ok()
}

/// Returns the message of an error with those of its causes, for places that can only pass text on.
pub(crate) fn with_causes(error: &(dyn error::Error + 'static)) -> String {
    Causes(error).to_string()
}

/// The full name of the message in the details of a failed function.
const DETAILS_TYPE: &str = "homing.v1.CallFailure";
