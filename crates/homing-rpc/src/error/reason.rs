//! The reasons for which a node refuses a request.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The reason for which a node refused a request before anything was executed.
///
/// On the wire it is a [`google.rpc.ErrorInfo`](https://google.aip.dev/193) of the domain `homing.v1` in the details of
/// the gRPC status. A status with such a reason proves that nothing was executed, so the request may be sent again. A
/// reason that this build does not know proves it too. A name on the wire is never reused with another meaning.
///
/// Which peer gets the request after a refusal, until the deadline:
///
/// | reason | gRPC code | the request is sent again to |
/// |---|---|---|
/// | `Draining` | `UNAVAILABLE` | any peer, waits for one |
/// | `DatabaseUnavailable` | `UNAVAILABLE` | another peer, waits for one, or for the database |
/// | `NotPrimary`, `OtherApplication`, `ProtocolVersion` | `FAILED_PRECONDITION` | another peer, waits for one |
/// | `Unauthenticated` | `UNAUTHENTICATED` | another peer, waits for one |
/// | `UnknownDatabase` | `NOT_FOUND` | another peer, waits for one |
/// | `Disabled` | `PERMISSION_DENIED` | another peer that is up now |
/// | `OtherCluster` | `FAILED_PRECONDITION` | another peer that is up now |
/// | `Overloaded` | `RESOURCE_EXHAUSTED` | another peer that is up now, or any peer when it has room |
/// | `UnknownFunction` | `NOT_FOUND` | another peer that is up now |
/// | `BadArguments` | `INVALID_ARGUMENT` | no peer |
/// | `HistoryLost`, `KeySettled`, `StaleStatement`, `Unprotected` | `FAILED_PRECONDITION` | no peer |
/// | `TooLarge` | `RESOURCE_EXHAUSTED` | no peer |
///
/// [`Retry`](crate::Retry) says what happens after failures without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The arguments cannot be decoded into the parameters of the function.
    BadArguments,
    /// The node cannot reach its database.
    DatabaseUnavailable,
    /// The node's configuration disables this request.
    Disabled,
    /// The node is shutting down and accepts no new requests.
    Draining,
    /// The primary's history does not contain what the sender's session has seen.
    HistoryLost,
    /// The key of the request was settled after the request had been sent: see [`CallKey::fence`](crate::CallKey::fence).
    KeySettled,
    /// The node's database is not the primary.
    NotPrimary,
    /// The node is one of another application than the sender expects.
    OtherApplication,
    /// The node's database belongs to another cluster than the sender expects.
    OtherCluster,
    /// The node has no room for another request.
    Overloaded,
    /// The node speaks another version of the protocol.
    ProtocolVersion,
    /// The primary prepares the statement with other types than the sender assumed.
    StaleStatement,
    /// The request is larger than the limit for a message.
    TooLarge,
    /// The two nodes did not prove to each other that they have the same credential. The node that calls finds this out at
    /// the beginning of a connection.
    Unauthenticated,
    /// The request has a key, and the node's database has no table in which keys are claimed.
    Unprotected,
    /// The node has no database of this name.
    UnknownDatabase,
    /// The node has no function of this name.
    UnknownFunction,
}

impl Reason {
    /// Returns a status with this reason. A message of more than 1 KiB is truncated, because it travels in a header.
    pub fn status(self, message: impl Into<String>) -> Status {
        self.status_with(message.into(), ErrorDetails::new())
    }

    /// Returns a status with this reason that also tells the caller when to try again (`google.rpc.RetryInfo`).
    pub fn status_retry_after(self, message: impl Into<String>, retry_after: Duration) -> Status {
        self.status_with(message.into(), ErrorDetails::with_retry_info(Some(retry_after)))
    }

    /// Returns a status with this reason that also says that no earlier attempt of the request was executed or will be.
    pub fn status_settled(self, message: impl Into<String>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.name(), DOMAIN, HashMap::from([(SETTLED.to_owned(), String::new())]));
        self.status_with(message.into(), details)
    }

    /// Returns whether a status says that no earlier attempt of the request was executed or will be.
    pub(crate) fn is_settled(status: &Status) -> bool {
        let info = status.get_details_error_info();
        info.is_some_and(|info| info.domain == DOMAIN && info.metadata.contains_key(SETTLED))
    }

    /// Returns the reason in a status.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if info.domain != DOMAIN {
            return None;
        }
        ALL.into_iter().find(|reason| reason.name() == info.reason)
    }

    /// Returns whether a status contains a reason, including one that only a newer build knows.
    pub(crate) fn is_in(status: &Status) -> bool {
        status.get_details_error_info().is_some_and(|info| info.domain == DOMAIN)
    }

    /// Returns when to try again, according to the status.
    pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
        status.get_details_retry_info()?.retry_delay
    }

    fn status_with(self, mut message: String, mut details: ErrorDetails) -> Status {
        truncate(&mut message, MAX_MESSAGE_BYTES);
        if details.error_info().is_none() {
            details.set_error_info(self.name(), DOMAIN, HashMap::new());
        }
        Status::with_error_details(self.code(), message, details)
    }

    /// The name on the wire.
    fn name(self) -> &'static str {
        match self {
            Self::BadArguments => "BAD_ARGUMENTS",
            Self::DatabaseUnavailable => "DATABASE_UNAVAILABLE",
            Self::Disabled => "DISABLED",
            Self::Draining => "DRAINING",
            Self::HistoryLost => "HISTORY_LOST",
            Self::KeySettled => "KEY_SETTLED",
            Self::NotPrimary => "NOT_PRIMARY",
            Self::OtherApplication => "OTHER_APPLICATION",
            Self::OtherCluster => "OTHER_CLUSTER",
            Self::Overloaded => "OVERLOADED",
            Self::ProtocolVersion => "PROTOCOL_VERSION",
            Self::StaleStatement => "STALE_STATEMENT",
            Self::TooLarge => "TOO_LARGE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Unprotected => "UNPROTECTED",
            Self::UnknownDatabase => "UNKNOWN_DATABASE",
            Self::UnknownFunction => "UNKNOWN_FUNCTION",
        }
    }

    /// The gRPC code, for clients in other languages that do not read the details.
    fn code(self) -> Code {
        match self {
            Self::BadArguments => Code::InvalidArgument,
            Self::Disabled => Code::PermissionDenied,
            Self::DatabaseUnavailable | Self::Draining => Code::Unavailable,
            Self::HistoryLost
            | Self::KeySettled
            | Self::NotPrimary
            | Self::OtherApplication
            | Self::OtherCluster
            | Self::ProtocolVersion
            | Self::StaleStatement
            | Self::Unprotected => Code::FailedPrecondition,
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
            Self::HistoryLost => "history lost",
            Self::KeySettled => "key settled",
            Self::NotPrimary => "not primary",
            Self::OtherApplication => "other application",
            Self::OtherCluster => "other database cluster",
            Self::Overloaded => "overloaded",
            Self::ProtocolVersion => "other protocol version",
            Self::StaleStatement => "stale statement",
            Self::TooLarge => "too large",
            Self::Unauthenticated => "unauthenticated",
            Self::Unprotected => "no table of outcomes",
            Self::UnknownDatabase => "unknown database",
            Self::UnknownFunction => "unknown function",
        })
    }
}

/// Gives the answer of a build that does not know a request its reason: nothing was executed, and another peer may be newer.
pub fn explain_unimplemented(status: Status) -> Status {
    if status.code() == Code::Unimplemented && Reason::of(&status).is_none() {
        return Reason::ProtocolVersion.status("its build does not know this request, update it");
    }
    status
}

/// Truncates a text at a character boundary.
pub(crate) fn truncate(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

const DOMAIN: &str = "homing.v1";

/// In the metadata of the details: see [`Reason::status_settled`].
const SETTLED: &str = "settled";

/// Limits the message of a refusal; a longer one is truncated. Message and details travel in headers, percent-encoded
/// and in base64. Together they stay below the 16 KiB that clients usually accept.
const MAX_MESSAGE_BYTES: usize = 1024;

const ALL: [Reason; 17] = [
    Reason::BadArguments,
    Reason::DatabaseUnavailable,
    Reason::Disabled,
    Reason::Draining,
    Reason::HistoryLost,
    Reason::KeySettled,
    Reason::NotPrimary,
    Reason::OtherApplication,
    Reason::OtherCluster,
    Reason::Overloaded,
    Reason::ProtocolVersion,
    Reason::StaleStatement,
    Reason::TooLarge,
    Reason::Unauthenticated,
    Reason::UnknownDatabase,
    Reason::UnknownFunction,
    Reason::Unprotected,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_their_status() {
        for reason in ALL {
            let status = reason.status("a message");
            assert_eq!(Reason::of(&status), Some(reason));
            assert!(Reason::is_in(&status));
            assert_eq!(status.message(), "a message");
        }
    }

    #[test]
    fn foreign_status_has_no_reason() {
        let plain = Status::unavailable("DRAINING");
        let info = ErrorDetails::with_error_info("DRAINING", "example.com", HashMap::new());
        let foreign = Status::with_error_details(Code::Unavailable, "m", info);
        let garbage = Status::with_details(Code::Unavailable, "m", b"\xff\xff\xff"[..].into());
        for status in [plain, foreign, garbage] {
            assert_eq!(Reason::of(&status), None);
            assert!(Reason::of(&status).is_none());
        }
    }

    #[test]
    fn unknown_reason_means_not_executed() {
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
    fn only_settled_status_is_settled() {
        let status = Reason::StaleStatement.status_settled("m");
        assert!(Reason::is_settled(&status));
        assert_eq!(Reason::of(&status), Some(Reason::StaleStatement));
        assert!(!Reason::is_settled(&Reason::StaleStatement.status("m")));
        assert!(!Reason::is_settled(&Status::unknown("settled")));
    }

    #[test]
    fn long_message_is_truncated() {
        let status = Reason::UnknownFunction.status("é".repeat(5000));
        assert!(status.message().len() < 1100);
        assert!(status.message().ends_with("é…"));
    }
}
