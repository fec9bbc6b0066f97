//! The error that a function returns to its caller.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::error::causes::Causes;
use crate::error::details::Details;
use crate::error::reason::Reason;

/// The error that a function returns to its caller.
///
/// Texts, boxed errors and [`Error`] become a `FunctionError` with `?`, any other error with `map_err` and
/// [`FunctionError::from_error`]. An application can implement `From` for its own error type, for example to attach
/// [`Details`].
#[derive(Clone)]
pub struct FunctionError(Arc<FunctionErrorInner>);

impl FunctionError {
    /// Returns an error with a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self::of_kind(FunctionErrorKind::Failed, message.into(), None)
    }

    /// Returns an error with a message for people and details for programs.
    pub fn with_details(message: impl Into<String>, details: Details) -> Self {
        Self::of_kind(FunctionErrorKind::Failed, message.into(), Some(details))
    }

    /// Returns an error with the messages of another error and its causes.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(Causes(error).to_string())
    }

    /// Returns the message for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the details for programs.
    pub fn details(&self) -> Option<&Details> {
        self.0.details.as_ref()
    }

    /// Returns whether the arguments could not be decoded, so that the function did nothing.
    pub fn is_bad_arguments(&self) -> bool {
        matches!(self.0.kind, FunctionErrorKind::BadArguments)
    }

    /// Returns a refusal: the caller tries another node if the reason allows that; otherwise its error says that
    /// nothing was executed. A function may refuse a call only before it has done anything.
    pub fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self::of_kind(FunctionErrorKind::Refused(reason), message.into(), None)
    }

    /// Says that the function did not return the error, but panicked. The node logs it as a bug.
    #[doc(hidden)]
    #[must_use]
    pub fn into_panicked(self) -> Self {
        let FunctionErrorInner { message, details, .. } = &*self.0;
        Self::of_kind(FunctionErrorKind::Panicked, message.clone(), details.clone())
    }

    pub(crate) fn is_panicked(&self) -> bool {
        matches!(self.0.kind, FunctionErrorKind::Panicked)
    }

    pub(crate) fn refused_for(&self) -> Option<Reason> {
        match self.0.kind {
            FunctionErrorKind::Refused(reason) => Some(reason),
            FunctionErrorKind::BadArguments | FunctionErrorKind::Failed | FunctionErrorKind::Panicked => None,
        }
    }

    /// The arguments cannot be decoded.
    pub(crate) fn bad_arguments(message: String) -> Self {
        Self::of_kind(FunctionErrorKind::BadArguments, message, None)
    }

    fn of_kind(kind: FunctionErrorKind, message: String, details: Option<Details>) -> Self {
        Self(Arc::new(FunctionErrorInner { kind, message, details }))
    }
}

/// `{:?}` prints the message, `{:#?}` all fields.
impl fmt::Debug for FunctionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !formatter.alternate() {
            return formatter.write_str(self.message());
        }
        let FunctionErrorInner { kind, message, details } = &*self.0;
        let mut error = formatter.debug_struct("FunctionError");
        error.field("kind", kind).field("message", message).field("details", details).finish()
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for FunctionError {}

impl From<&str> for FunctionError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for FunctionError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for FunctionError {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::from_error(&*error)
    }
}

/// A call that the function made failed. The details of that error are passed on.
impl From<Error> for FunctionError {
    fn from(error: Error) -> Self {
        match error.details().cloned() {
            Some(details) => Self::with_details(error.to_string(), details),
            None => Self::from_error(&error),
        }
    }
}

struct FunctionErrorInner {
    kind: FunctionErrorKind,
    message: String,
    details: Option<Details>,
}

#[derive(Debug)]
enum FunctionErrorKind {
    BadArguments,
    Failed,
    Panicked,
    Refused(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_keep_their_causes() {
        let error = Error::not_sent("no peer").with_source(std::io::Error::other("refused"));
        assert_eq!(FunctionError::from(error).to_string(), "no peer: refused");
    }

    #[test]
    fn details_of_inner_call_are_passed_on() {
        let details = Details::new("a.B", "bytes");
        let error = Error::function_failed(Some(details.clone()), "broken");
        assert_eq!(FunctionError::from(error).details(), Some(&details));
    }
}
