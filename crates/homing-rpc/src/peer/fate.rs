//! The fate of a request that failed: was it executed?
//!
//! The rule: *not executed* needs a proof; everything else is *unknown*. These are the proofs:
//!
//! - no connection was made, or hyper handed the whole request back, or dropped it before it gave it to the connection;
//! - the peer reset the stream with REFUSED_STREAM, or sent GOAWAY with NO_ERROR and a last stream below this one;
//! - the status contains an `ErrorInfo` of the domain `homing.v1`, also if its reason is unknown to this build.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use hyper::client::conn::TrySendError;
use tonic::Status;

use crate::error::reason::Reason;
use crate::peer::name::PeerName;

/// The fate of a request that failed.
///
/// Closed: without a proof it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Provably not executed; it may be sent again.
    NotExecuted,
    /// It was sent, and nothing proves that it was not executed.
    Unknown,
}

impl Fate {
    /// Returns the fate of a request that failed with this status.
    pub(crate) fn of(status: &Status) -> Self {
        if Reason::is_in(status) {
            return Self::NotExecuted;
        }
        TransportError::in_status(status).map_or(Self::Unknown, |error| error.fate)
    }
}

/// A failure of the transport. It passes through tonic as the source of a [`Status`].
#[derive(Debug)]
pub(crate) struct TransportError {
    fate: Fate,
    go_away: Option<h2::Reason>,
    peer: PeerName,
    cause: hyper::Error,
}

impl TransportError {
    /// Returns the error for a request that got no response from hyper.
    pub(crate) fn new<B>(peer: PeerName, error: TrySendError<B>) -> Self {
        let symptoms = Symptoms::of(&error);
        Self { fate: fate(&symptoms), go_away: symptoms.go_away, peer, cause: error.into_error() }
    }

    /// Returns a status with this error as its source.
    pub(crate) fn into_status(self) -> Status {
        let mut status = Status::unavailable(self.to_string());
        status.set_source(Arc::new(self));
        status
    }

    /// Returns whether a status stands for a failure of the transport, and not for an answer of the peer.
    pub(crate) fn is_in(status: &Status) -> bool {
        Self::in_status(status).is_some()
    }

    /// Returns whether the peer has ended the connection because this node did not prove that it has the secret.
    pub(crate) fn demands_proof(status: &Status) -> bool {
        Self::in_status(status).is_some_and(|error| error.go_away == Some(h2::Reason::INADEQUATE_SECURITY))
    }

    fn in_status(status: &Status) -> Option<&Self> {
        let mut causes = std::iter::successors(status.source(), |&cause| cause.source());
        causes.find_map(|cause| cause.downcast_ref())
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the connection to {} failed", self.peer)
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}

/// The evidence of hyper and h2 about a request that got no response.
#[derive(Clone, Copy, Debug, Default)]
struct Symptoms {
    /// The whole request was handed back: it was never written.
    handed_back: bool,
    /// It was dropped before it was dispatched to the connection.
    canceled: bool,
    /// The peer reset the stream.
    reset: Option<h2::Reason>,
    /// The peer is going away, and the stream is above the last one that it will process.
    go_away: Option<h2::Reason>,
}

impl Symptoms {
    fn of<B>(error: &TrySendError<B>) -> Self {
        let cause = error.error();
        let mut symptoms =
            Self { handed_back: error.message().is_some(), canceled: cause.is_canceled(), ..Self::default() };
        if let Some(h2) = cause.source().and_then(|cause| cause.downcast_ref::<h2::Error>())
            && h2.is_remote()
        {
            symptoms.reset = h2.reason().filter(|_| h2.is_reset());
            symptoms.go_away = h2.reason().filter(|_| h2.is_go_away());
        }
        symptoms
    }
}

/// REFUSED_STREAM: <https://www.rfc-editor.org/rfc/rfc9113#section-8.7>. GOAWAY: h2 ends with it only the streams above
/// the last processed one, <https://www.rfc-editor.org/rfc/rfc9113#section-6.8>. If GOAWAY contains an error code, the
/// state of the peer is uncertain, so it is not a proof.
fn fate(symptoms: &Symptoms) -> Fate {
    let proven = symptoms.handed_back
        || symptoms.canceled
        || symptoms.reset == Some(h2::Reason::REFUSED_STREAM)
        || symptoms.go_away == Some(h2::Reason::NO_ERROR);
    if proven { Fate::NotExecuted } else { Fate::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proof_means_not_executed() {
        let none = Symptoms::default();
        let reset = |reason| Symptoms { reset: Some(reason), ..none };
        let go_away = |reason| Symptoms { go_away: Some(reason), ..none };
        let table = [
            (none, Fate::Unknown),
            (Symptoms { handed_back: true, ..none }, Fate::NotExecuted),
            (Symptoms { canceled: true, ..none }, Fate::NotExecuted),
            (reset(h2::Reason::REFUSED_STREAM), Fate::NotExecuted),
            (reset(h2::Reason::NO_ERROR), Fate::Unknown),
            (reset(h2::Reason::CANCEL), Fate::Unknown),
            (reset(h2::Reason::INTERNAL_ERROR), Fate::Unknown),
            (go_away(h2::Reason::NO_ERROR), Fate::NotExecuted),
            (go_away(h2::Reason::INTERNAL_ERROR), Fate::Unknown),
            (go_away(h2::Reason::REFUSED_STREAM), Fate::Unknown),
        ];
        for (symptoms, expected) in table {
            assert_eq!(fate(&symptoms), expected, "{symptoms:?}");
        }
    }

    #[test]
    fn reason_is_a_proof_but_no_code() {
        assert_eq!(Fate::of(&Reason::NotPrimary.status("m")), Fate::NotExecuted);
        for code in 1..=16 {
            assert_eq!(Fate::of(&Status::new(code.into(), "m")), Fate::Unknown, "{code}");
        }
    }
}
