//! Decides whether a failed attempt is followed by another one.

use tonic::Status;

use crate::error::reason::Reason;
use crate::peer::fate::{Fate, TransportError};
use crate::peer::pick::WaitFor;

/// After which failures a request is sent again, until its deadline.
///
/// | failure | `NotProcessed` | `Always` |
/// |---|---|---|
/// | provably not executed, by the transport | any peer | any peer |
/// | the connection broke | no | any peer |
/// | a status without a [reason](crate::Reason) | no | another peer |
/// | a refusal with a reason | depends on the [reason](crate::Reason) | the same peers |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Only if it was provably not executed: for requests that write.
    NotProcessed,
    /// Also if its fate is unknown: for requests that may be executed twice.
    Always,
}

impl Retry {
    /// Returns what the next attempt waits for, or `None` if the request fails.
    pub(crate) fn after(self, status: &Status) -> Option<WaitFor> {
        let failure = match (Reason::of(status), Fate::of(status)) {
            (Some(reason), _) => Failure::Refused(reason),
            (None, Fate::NotExecuted) => Failure::NotExecuted,
            (None, Fate::Unknown) if TransportError::is_in(status) => Failure::Lost,
            (None, Fate::Unknown) => Failure::Answered,
        };
        self.after_failure(failure)
    }

    fn after_failure(self, failure: Failure) -> Option<WaitFor> {
        match failure {
            Failure::Refused(reason) => after_refusal(reason),
            Failure::NotExecuted => Some(WaitFor::AnyPeer),
            Failure::Lost if self == Self::Always => Some(WaitFor::AnyPeer),
            Failure::Answered if self == Self::Always => Some(WaitFor::UntriedPeer),
            Failure::Lost | Failure::Answered => None,
        }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The peer refused it with a reason.
    Refused(Reason),
    /// The transport proves that it was not executed.
    NotExecuted,
    /// The connection broke.
    Lost,
    /// The peer answered with a status without a reason.
    Answered,
}

fn after_refusal(reason: Reason) -> Option<WaitFor> {
    match reason {
        // The peer is shutting down; another one will take its place.
        Reason::Draining => Some(WaitFor::AnyPeer),
        // Another peer may be able to take it, now or soon.
        Reason::DatabaseUnavailable
        | Reason::NotPrimary
        | Reason::ProtocolVersion
        | Reason::Unauthenticated
        | Reason::UnknownDatabase => Some(WaitFor::UntriedPeer),
        // Another peer that is up may take it, but waiting does not help.
        Reason::Disabled | Reason::Overloaded | Reason::UnknownFunction => Some(WaitFor::Nothing),
        // Every peer would refuse it.
        Reason::BadArguments | Reason::StaleStatement | Reason::TooLarge => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_always_repeats_unknown_fate() {
        let table = [
            (Failure::NotExecuted, Some(WaitFor::AnyPeer), Some(WaitFor::AnyPeer)),
            (Failure::Lost, None, Some(WaitFor::AnyPeer)),
            (Failure::Answered, None, Some(WaitFor::UntriedPeer)),
            (Failure::Refused(Reason::Draining), Some(WaitFor::AnyPeer), Some(WaitFor::AnyPeer)),
            (Failure::Refused(Reason::NotPrimary), Some(WaitFor::UntriedPeer), Some(WaitFor::UntriedPeer)),
            (Failure::Refused(Reason::Overloaded), Some(WaitFor::Nothing), Some(WaitFor::Nothing)),
            (Failure::Refused(Reason::BadArguments), None, None),
            (Failure::Refused(Reason::StaleStatement), None, None),
        ];
        for (failure, writes, reads) in table {
            assert_eq!(Retry::NotProcessed.after_failure(failure), writes, "{failure:?}");
            assert_eq!(Retry::Always.after_failure(failure), reads, "{failure:?}");
        }
    }

    #[test]
    fn status_without_proof_is_not_retried() {
        assert_eq!(Retry::NotProcessed.after(&Status::unavailable("m")), None);
        assert_eq!(Retry::NotProcessed.after(&Reason::Draining.status("m")), Some(WaitFor::AnyPeer));
    }
}
