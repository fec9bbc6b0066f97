//! The error of this crate.

pub(crate) mod causes;
pub(crate) mod details;
pub(crate) mod reason;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use homing_proto::v1::Position;

use crate::error::causes::Causes;
use crate::error::details::Details;
use crate::error::reason::Reason;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a call, a look-up or a configuration.
///
/// Its kind is private; a program decides by the predicates. For the fate of a call, exactly one of three predicates is
/// true for every error:
///
/// | predicate | was the function executed? |
/// |---|---|
/// | [`is_not_sent`](Self::is_not_sent) | no |
/// | [`is_outcome_unknown`](Self::is_outcome_unknown) | perhaps |
/// | [`is_executed`](Self::is_executed) | yes |
///
/// `Display` says what failed, where, and what to do next. [`source`](StdError::source) returns the cause. `Debug`, which
/// `main` prints, adds the causes, a line each; its alternate form `{:#?}` prints all fields.
pub struct Error(Box<ErrorInner>);

impl Error {
    /// Returns whether nothing was executed: no peer was found or reached, or the call was refused before it began.
    ///
    /// Calling again is safe. It does not help if [`is_misuse`](Self::is_misuse),
    /// [`is_bad_arguments`](Self::is_bad_arguments) or [`is_unauthenticated`](Self::is_unauthenticated) is true as
    /// well.
    pub fn is_not_sent(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Misuse | ErrorKind::NotSent | ErrorKind::Refused { .. })
    }

    /// Returns whether the call was sent and no usable answer came back. It may have been executed, not executed, or
    /// still be running.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::OutcomeUnknown)
    }

    /// Returns whether the function was executed to its end. It returned an error, or its result cannot be read.
    pub fn is_executed(&self) -> bool {
        matches!(self.0.kind, ErrorKind::FunctionFailed(_) | ErrorKind::UnreadableResult)
    }

    /// Returns whether the function was executed and returned an error. Its effects up to that point remain.
    pub fn is_function_failed(&self) -> bool {
        matches!(self.0.kind, ErrorKind::FunctionFailed(_))
    }

    /// Returns the details that the function attached to its error.
    pub fn details(&self) -> Option<&Details> {
        match &self.0.kind {
            ErrorKind::FunctionFailed(details) => details.as_ref(),
            _ => None,
        }
    }

    /// Returns a position for each database of the node that executed the function, if the database could be asked. No
    /// commit of the function is after its database's position. Empty if [`is_executed`](Self::is_executed) is false.
    pub fn positions(&self) -> &[Position] {
        &self.0.positions
    }

    /// Returns whether the configuration or the call itself is wrong. It fails in the same way until the program or its
    /// settings change.
    pub fn is_misuse(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Misuse)
    }

    /// Returns whether the peer has no function of that name, for example because it runs an older build during a
    /// deployment.
    pub fn is_unknown_function(&self) -> bool {
        self.reason() == Some(Reason::UnknownFunction)
    }

    /// Returns whether the arguments cannot be decoded into the parameters of the function.
    pub fn is_bad_arguments(&self) -> bool {
        self.reason() == Some(Reason::BadArguments)
    }

    /// Returns whether the node that was asked has no room for another call; see [`retry_after`](Self::retry_after).
    pub fn is_overloaded(&self) -> bool {
        self.reason() == Some(Reason::Overloaded)
    }

    /// Returns how long after the answer the peer may have room again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            ErrorKind::Refused { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    /// Returns whether this node and the peer did not prove to each other that they have the same credential.
    pub fn is_unauthenticated(&self) -> bool {
        self.reason() == Some(Reason::Unauthenticated)
    }

    /// Returns whether the peer speaks another version of the protocol.
    pub fn is_protocol_mismatch(&self) -> bool {
        self.reason() == Some(Reason::ProtocolVersion)
    }

    /// Returns whether the request is larger than the limit for a message.
    pub fn is_too_large(&self) -> bool {
        self.reason() == Some(Reason::TooLarge)
    }

    /// Returns whether the peer's database is not the primary.
    pub fn is_not_primary(&self) -> bool {
        self.reason() == Some(Reason::NotPrimary)
    }

    /// Returns why the call was refused before anything was executed.
    pub fn reason(&self) -> Option<Reason> {
        match self.0.kind {
            ErrorKind::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// Constructors. Each takes the whole message: what failed, where, and what to do next, in lower case, without a full
/// stop and without the text of the cause.
impl Error {
    /// Returns the error of a look-up that failed, for a [`Discover`](crate::Discover) of one's own.
    /// [`is_not_sent`](Self::is_not_sent) is true.
    ///
    /// ```
    /// use homing_rpc::Error;
    ///
    /// let error = Error::discovery("cannot ask consul.internal:8500: check that it runs");
    /// assert!(error.is_not_sent() && !error.is_misuse());
    /// ```
    pub fn discovery(message: impl Into<String>) -> Self {
        Self::not_sent(message)
    }

    /// Sets the cause, which [`source`](StdError::source) returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The configuration or the call itself is wrong.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }

    /// No peer was found or reached in time.
    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSent, message)
    }

    /// The call was refused before anything was executed, by the peer or by this node.
    pub(crate) fn refused(reason: Reason, retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused { reason, retry_after }, message)
    }

    /// The call was sent, and no usable answer came back.
    pub(crate) fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutcomeUnknown, message)
    }

    /// The function ran and returned an error.
    pub(crate) fn function_failed(details: Option<Details>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FunctionFailed(details), message)
    }

    /// The function ran, but its result is not of the type that the caller expects, or larger than a message may be.
    pub(crate) fn unreadable_result(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnreadableResult, message)
    }

    /// Puts the place of the error in front of the message, for example the name of a variable.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// Attaches the positions that came with the function's answer.
    pub(crate) fn with_positions(mut self, positions: Vec<Position>) -> Self {
        self.0.positions = positions;
        self
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner { kind, message: message.into(), positions: Vec::new(), source: None }))
    }
}

/// `{:?}` prints what `main` shows of an error: the message and its causes, a line each. `{:#?}` prints all fields.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !formatter.alternate() {
            return write!(formatter, "{:#}", Causes(self));
        }
        let ErrorInner { kind, message, positions, source } = &*self.0;
        let mut error = formatter.debug_struct("Error");
        error.field("kind", kind).field("message", message).field("positions", positions);
        error.field("source", source).finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

struct ErrorInner {
    kind: ErrorKind,
    message: String,
    positions: Vec<Position>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Variants differ in the fate of the call, or in who is at fault.
#[derive(Debug)]
enum ErrorKind {
    FunctionFailed(Option<Details>),
    Misuse,
    NotSent,
    OutcomeUnknown,
    Refused { reason: Reason, retry_after: Option<Duration> },
    UnreadableResult,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_exactly_one_fate() {
        let errors = [
            Error::misuse("m"),
            Error::not_sent("m"),
            Error::refused(Reason::Overloaded, None, "m"),
            Error::outcome_unknown("m"),
            Error::function_failed(None, "m"),
            Error::unreadable_result("m"),
        ];
        for error in errors {
            let fates = [error.is_not_sent(), error.is_outcome_unknown(), error.is_executed()];
            assert_eq!(fates.iter().filter(|fate| **fate).count(), 1, "{error:?}");
        }
    }

    #[test]
    fn each_reason_has_one_predicate() {
        let table = [
            (Reason::UnknownFunction, "is_unknown_function"),
            (Reason::BadArguments, "is_bad_arguments"),
            (Reason::Overloaded, "is_overloaded"),
            (Reason::Unauthenticated, "is_unauthenticated"),
            (Reason::ProtocolVersion, "is_protocol_mismatch"),
            (Reason::TooLarge, "is_too_large"),
            (Reason::NotPrimary, "is_not_primary"),
        ];
        for (reason, expected) in table {
            let error = Error::refused(reason, None, "m");
            let predicates = [
                ("is_unknown_function", error.is_unknown_function()),
                ("is_bad_arguments", error.is_bad_arguments()),
                ("is_overloaded", error.is_overloaded()),
                ("is_unauthenticated", error.is_unauthenticated()),
                ("is_protocol_mismatch", error.is_protocol_mismatch()),
                ("is_too_large", error.is_too_large()),
                ("is_not_primary", error.is_not_primary()),
                ("is_misuse", error.is_misuse()),
                ("is_function_failed", error.is_function_failed()),
            ];
            let true_ones: Vec<_> = predicates.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
            assert_eq!(true_ones, [expected]);
            assert_eq!(error.reason(), Some(reason));
        }
    }

    #[test]
    fn source_returns_the_cause() {
        let error = Error::not_sent("no peer in region syd").with_source(std::io::Error::other("broken"));
        assert_eq!(error.to_string(), "no peer in region syd");
        assert_eq!(error.source().unwrap().to_string(), "broken");
    }

    #[test]
    fn overloaded_peer_has_a_hint() {
        let hint = Some(Duration::from_millis(250));
        assert_eq!(Error::refused(Reason::Overloaded, hint, "m").retry_after(), hint);
        assert_eq!(Error::not_sent("m").retry_after(), None);
    }

    #[test]
    fn error_is_pointer_sized_and_send() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
