//! Why a request was turned down before anything was executed.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Why a request was turned down before anything was executed.
///
/// On the wire it is a [`google.rpc.ErrorInfo`](https://google.aip.dev/193) of the domain `homing.v1` in the details of
/// the gRPC status. A status that carries one says that nothing was executed, so the request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The arguments do not decode into the parameters of the function.
    BadArguments,
    /// The node cannot reach its database.
    DatabaseUnavailable,
    /// The node does not offer this, by its configuration.
    Disabled,
    /// The node is shutting down and takes no new requests.
    Draining,
    /// The node's database is not the primary.
    NotPrimary,
    /// The node has no room for another request.
    Overloaded,
    /// The node speaks another version of the protocol.
    ProtocolVersion,
    /// The primary prepares the statement to other types than the sender assumed.
    StaleStatement,
    /// The request is larger than a message may be.
    TooLarge,
    /// The credential is missing or wrong.
    Unauthenticated,
    /// The node has no database of this name.
    UnknownDatabase,
    /// The node has no function of this name.
    UnknownFunction,
}

impl Reason {
    /// A status that carries this reason. A message of more than 1 KiB is cut, since it travels in a header.
    pub fn status(self, message: impl Into<String>) -> Status {
        self.status_with(message.into(), ErrorDetails::new())
    }

    /// The same with a hint when the request may succeed (`google.rpc.RetryInfo`).
    pub fn status_retry_after(self, message: impl Into<String>, retry_after: Duration) -> Status {
        self.status_with(message.into(), ErrorDetails::with_retry_info(Some(retry_after)))
    }

    /// The reason that a status carries.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if info.domain != DOMAIN {
            return None;
        }
        ALL.into_iter().find(|reason| reason.name() == info.reason)
    }

    /// Whether a status says that nothing was executed. True also for a reason that only a newer build knows.
    pub(crate) fn is_in(status: &Status) -> bool {
        status.get_details_error_info().is_some_and(|info| info.domain == DOMAIN)
    }

    /// The hint of a status when to try again.
    pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
        status.get_details_retry_info()?.retry_delay
    }

    fn status_with(self, mut message: String, mut details: ErrorDetails) -> Status {
        truncate(&mut message, MAX_MESSAGE_BYTES);
        details.set_error_info(self.name(), DOMAIN, HashMap::new());
        Status::with_error_details(self.code(), message, details)
    }

    /// The name on the wire.
    fn name(self) -> &'static str {
        match self {
            Self::BadArguments => "BAD_ARGUMENTS",
            Self::DatabaseUnavailable => "DATABASE_UNAVAILABLE",
            Self::Disabled => "DISABLED",
            Self::Draining => "DRAINING",
            Self::NotPrimary => "NOT_PRIMARY",
            Self::Overloaded => "OVERLOADED",
            Self::ProtocolVersion => "PROTOCOL_VERSION",
            Self::StaleStatement => "STALE_STATEMENT",
            Self::TooLarge => "TOO_LARGE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::UnknownDatabase => "UNKNOWN_DATABASE",
            Self::UnknownFunction => "UNKNOWN_FUNCTION",
        }
    }

    /// For clients in other languages that look at codes only.
    fn code(self) -> Code {
        match self {
            Self::BadArguments => Code::InvalidArgument,
            Self::Disabled => Code::PermissionDenied,
            Self::DatabaseUnavailable | Self::Draining => Code::Unavailable,
            Self::NotPrimary | Self::ProtocolVersion | Self::StaleStatement => Code::FailedPrecondition,
            Self::Overloaded | Self::TooLarge => Code::ResourceExhausted,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::UnknownDatabase | Self::UnknownFunction => Code::NotFound,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::BadArguments => "bad arguments",
            Self::DatabaseUnavailable => "database unavailable",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::NotPrimary => "not primary",
            Self::Overloaded => "overloaded",
            Self::ProtocolVersion => "other protocol version",
            Self::StaleStatement => "stale statement",
            Self::TooLarge => "too large",
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownDatabase => "unknown database",
            Self::UnknownFunction => "unknown function",
        })
    }
}

/// Cuts a text at a character boundary.
pub(crate) fn truncate(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

const DOMAIN: &str = "homing.v1";

/// Message and details travel in headers, percent-encoded and in base64; together they stay below the 16 KiB that
/// clients commonly accept.
const MAX_MESSAGE_BYTES: usize = 1024;

const ALL: [Reason; 12] = [
    Reason::BadArguments,
    Reason::DatabaseUnavailable,
    Reason::Disabled,
    Reason::Draining,
    Reason::NotPrimary,
    Reason::Overloaded,
    Reason::ProtocolVersion,
    Reason::StaleStatement,
    Reason::TooLarge,
    Reason::Unauthenticated,
    Reason::UnknownDatabase,
    Reason::UnknownFunction,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_its_status() {
        for reason in ALL {
            let status = reason.status("a message");
            assert_eq!(Reason::of(&status), Some(reason));
            assert!(Reason::is_in(&status));
            assert_eq!(status.message(), "a message");
        }
    }

    #[test]
    fn a_status_without_details_or_of_another_domain_has_no_reason() {
        let plain = Status::unavailable("DRAINING");
        let info = ErrorDetails::with_error_info("DRAINING", "example.com", HashMap::new());
        let foreign = Status::with_error_details(Code::Unavailable, "m", info);
        let garbage = Status::with_details(Code::Unavailable, "m", b"\xff\xff\xff"[..].into());
        for status in [plain, foreign, garbage] {
            assert_eq!(Reason::of(&status), None);
            assert!(!Reason::is_in(&status));
        }
    }

    #[test]
    fn a_reason_of_a_newer_build_still_says_that_nothing_was_executed() {
        let info = ErrorDetails::with_error_info("FROM_THE_FUTURE", DOMAIN, HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "m", info);
        assert_eq!(Reason::of(&status), None);
        assert!(Reason::is_in(&status));
    }

    #[test]
    fn the_hint_travels_along() {
        let hint = Duration::from_millis(250);
        let status = Reason::Overloaded.status_retry_after("m", hint);
        assert_eq!(Reason::retry_after(&status), Some(hint));
        assert_eq!(Reason::of(&status), Some(Reason::Overloaded));
        assert_eq!(Reason::retry_after(&Reason::Overloaded.status("m")), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let status = Reason::UnknownFunction.status("é".repeat(5000));
        assert!(status.message().len() < 1100);
        assert!(status.message().ends_with("é…"));
    }
}
