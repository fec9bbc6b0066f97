//! Whether a failed attempt is followed by another one, and what that one may go to.

use tonic::Status;

use crate::error::reason::Reason;
use crate::peer::fate::{Fate, TransportError};
use crate::peer::pick::WaitFor;

/// After which failures a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Only where it was provably not executed: for everything that writes.
    NotProcessed,
    /// Also where its fate is unknown: for what may be executed twice.
    Always,
}

impl Retry {
    /// What the next attempt may go to; nothing where there is to be none.
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
    /// With a reason.
    Refused(Reason),
    /// Provably not executed.
    NotExecuted,
    /// The connection broke under it.
    Lost,
    /// With a status that has no reason.
    Answered,
}

fn after_refusal(reason: Reason) -> Option<WaitFor> {
    match reason {
        // The peer goes away, another one takes its place.
        Reason::Draining => Some(WaitFor::AnyPeer),
        // One of the others is as it should be.
        Reason::DatabaseUnavailable
        | Reason::NotPrimary
        | Reason::ProtocolVersion
        | Reason::Unauthenticated
        | Reason::UnknownDatabase => Some(WaitFor::UntriedPeer),
        // Perhaps another one that is up, but nothing to wait for.
        Reason::Disabled | Reason::Overloaded | Reason::UnknownFunction => Some(WaitFor::Nothing),
        // The same everywhere.
        Reason::BadArguments | Reason::StaleStatement | Reason::TooLarge => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_executed_is_sent_again_only_if_always() {
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
    fn a_status_without_a_proof_may_have_been_executed() {
        assert_eq!(Retry::NotProcessed.after(&Status::unavailable("m")), None);
        assert_eq!(Retry::NotProcessed.after(&Reason::Draining.status("m")), Some(WaitFor::AnyPeer));
    }
}
