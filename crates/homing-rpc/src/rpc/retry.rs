//! Whether a failed attempt is followed by another one, and what that one may go to.

use tonic::Status;

use crate::error::reason::Reason;
use crate::peer::fate::{Fate, TransportError};
use crate::peer::pick::Patience;

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
    pub(crate) fn after(self, status: &Status) -> Option<Patience> {
        let failure = match (Reason::of(status), Fate::of(status)) {
            (Some(reason), _) => Failure::Refused(reason),
            (None, Fate::NotExecuted) => Failure::NotExecuted,
            (None, Fate::Unknown) if TransportError::is_in(status) => Failure::Lost,
            (None, Fate::Unknown) => Failure::Answered,
        };
        self.after_failure(failure)
    }

    fn after_failure(self, failure: Failure) -> Option<Patience> {
        match failure {
            Failure::Refused(reason) => after_refusal(reason),
            Failure::NotExecuted => Some(Patience::Any),
            Failure::Lost if self == Self::Always => Some(Patience::Any),
            Failure::Answered if self == Self::Always => Some(Patience::Others),
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

fn after_refusal(reason: Reason) -> Option<Patience> {
    match reason {
        // The peer goes away, another one takes its place.
        Reason::Draining => Some(Patience::Any),
        // One of the others is as it should be.
        Reason::DatabaseUnavailable
        | Reason::NotPrimary
        | Reason::ProtocolVersion
        | Reason::Unauthenticated
        | Reason::UnknownDatabase => Some(Patience::Others),
        // Perhaps another one that is up, but nothing to wait for.
        Reason::Disabled | Reason::Overloaded | Reason::UnknownFunction => Some(Patience::None),
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
            (Failure::NotExecuted, Some(Patience::Any), Some(Patience::Any)),
            (Failure::Lost, None, Some(Patience::Any)),
            (Failure::Answered, None, Some(Patience::Others)),
            (Failure::Refused(Reason::Draining), Some(Patience::Any), Some(Patience::Any)),
            (Failure::Refused(Reason::NotPrimary), Some(Patience::Others), Some(Patience::Others)),
            (Failure::Refused(Reason::Overloaded), Some(Patience::None), Some(Patience::None)),
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
        assert_eq!(Retry::NotProcessed.after(&Reason::Draining.status("m")), Some(Patience::Any));
    }
}
