//! The error of this crate.

pub(crate) mod details;
pub(crate) mod reason;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use homing_proto::v1::Position;

use crate::error::details::Details;
use crate::error::reason::Reason;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call, a look-up or a configuration failed.
///
/// The kind is private; ask one of the predicates for the decision at hand. For the fate of a call three answers cover
/// every error, and exactly one of them is true:
///
/// | predicate | was the function executed? |
/// |---|---|
/// | [`is_not_sent`](Self::is_not_sent) | no |
/// | [`is_outcome_unknown`](Self::is_outcome_unknown) | perhaps |
/// | [`is_executed`](Self::is_executed) | yes |
///
/// `Display` says what went wrong here, where, and what to do next; the cause is reached through
/// [`source`](StdError::source).
pub struct Error(Box<ErrorInner>);

impl Error {
    /// Nothing was executed: no peer was found or reached, or the peer turned the call down before it began.
    ///
    /// Calling again is safe. Whether it is of use is another matter: not where
    /// [`is_misuse`](Self::is_misuse), [`is_bad_arguments`](Self::is_bad_arguments) or
    /// [`is_unauthenticated`](Self::is_unauthenticated) is true as well.
    pub fn is_not_sent(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Misuse | ErrorKind::NotSent | ErrorKind::Refused { .. })
    }

    /// The call was sent and its answer did not come back: it was executed, or it was not, or it still runs.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::OutcomeUnknown)
    }

    /// The function was executed to its end; it failed, or what it returned cannot be read.
    pub fn is_executed(&self) -> bool {
        matches!(self.0.kind, ErrorKind::FunctionFailed(_) | ErrorKind::UnreadableResult)
    }

    /// The function was executed and returned an error. What it had done by then stays done.
    pub fn is_function_failed(&self) -> bool {
        matches!(self.0.kind, ErrorKind::FunctionFailed(_))
    }

    /// What the function attached to its error.
    pub fn details(&self) -> Option<&Details> {
        match &self.0.kind {
            ErrorKind::FunctionFailed(details) => details.as_ref(),
            _ => None,
        }
    }

    /// Where an executed function left the databases of its node: not before any of its commits. Empty for an error of
    /// another fate.
    pub fn positions(&self) -> &[Position] {
        &self.0.positions
    }

    /// The configuration or the call itself is wrong: it fails the same way until the program or its settings change.
    pub fn is_misuse(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Misuse)
    }

    /// The peer has no function of that name, as during a deploy when it runs an older build.
    pub fn is_unknown_function(&self) -> bool {
        self.reason() == Some(Reason::UnknownFunction)
    }

    /// The arguments do not decode into what the function takes.
    pub fn is_bad_arguments(&self) -> bool {
        self.reason() == Some(Reason::BadArguments)
    }

    /// The peer, or this client, has no room for another call at the moment; see [`retry_after`](Self::retry_after).
    pub fn is_overloaded(&self) -> bool {
        self.reason() == Some(Reason::Overloaded)
    }

    /// When there may be room again, counted from the answer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            ErrorKind::Refused { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    /// The peer did not accept this node's credential.
    pub fn is_unauthenticated(&self) -> bool {
        self.reason() == Some(Reason::Unauthenticated)
    }

    /// The peer speaks another version of the protocol.
    pub fn is_protocol_mismatch(&self) -> bool {
        self.reason() == Some(Reason::ProtocolVersion)
    }

    /// The request is larger than a message may be.
    pub fn is_too_large(&self) -> bool {
        self.reason() == Some(Reason::TooLarge)
    }

    /// The peer's database is not the primary.
    pub fn is_not_primary(&self) -> bool {
        self.reason() == Some(Reason::NotPrimary)
    }

    /// Why the call was turned down before anything was executed.
    pub fn reason(&self) -> Option<Reason> {
        match self.0.kind {
            ErrorKind::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// Each takes the whole message: what, where and what to do next, lower case, no full stop, without the cause's words.
impl Error {
    /// The configuration or the call itself is wrong.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }

    /// No peer was found or reached.
    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSent, message)
    }

    /// Turned down for a reason before anything was executed, by the peer or on this side.
    pub(crate) fn refused(reason: Reason, retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused { reason, retry_after }, message)
    }

    /// Sent, and no answer.
    pub(crate) fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutcomeUnknown, message)
    }

    /// The function ran and returned an error.
    pub(crate) fn function_failed(details: Option<Details>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FunctionFailed(details), message)
    }

    /// The function ran, and its result is not what the caller expects.
    pub(crate) fn unreadable_result(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnreadableResult, message)
    }

    /// The same, with the place where it was found in front: the name of a variable, say.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The same with the positions after the function.
    pub(crate) fn with_positions(mut self, positions: Vec<Position>) -> Self {
        self.0.positions = positions;
        self
    }

    /// The same with its cause.
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner { kind, message: message.into(), positions: Vec::new(), source: None }))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorInner { kind, message, source, .. } = &*self.0;
        let mut error = formatter.debug_struct("Error");
        error.field("kind", kind).field("message", message);
        if let Some(source) = source {
            error.field("source", source);
        }
        error.finish()
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

/// One for each fate; what sets errors of one fate apart is in the fields.
#[derive(Debug)]
enum ErrorKind {
    FunctionFailed(Option<Details>),
    Misuse,
    NotSent,
    OutcomeUnknown,
    Refused { reason: Reason, retry_after: Option<Duration> },
    UnreadableResult,
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some types repeat their source.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
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
    fn each_reason_answers_to_its_own_predicate_only() {
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
    fn the_cause_is_reached_through_source_and_not_repeated() {
        let error = Error::not_sent("no peer in region syd").with_source(std::io::Error::other("broken"));
        assert_eq!(error.to_string(), "no peer in region syd");
        assert_eq!(error.source().unwrap().to_string(), "broken");
    }

    #[test]
    fn an_overloaded_peer_says_when_to_come_back() {
        let hint = Some(Duration::from_millis(250));
        assert_eq!(Error::refused(Reason::Overloaded, hint, "m").retry_after(), hint);
        assert_eq!(Error::not_sent("m").retry_after(), None);
    }

    #[test]
    fn it_is_as_small_as_a_pointer_and_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
