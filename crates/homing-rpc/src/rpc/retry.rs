//! Decides whether a failed attempt is followed by another one.

use tonic::{Code, Status};

use crate::error::reason::Reason;
use crate::peer::fate::{Fate, TransportError};
use crate::peer::pick::WaitFor;

/// After which failures a request is sent again, until its deadline.
///
/// | failure | `NotProcessed` | `Always` |
/// |---|---|---|
/// | provably not executed, by the transport | any peer | any peer |
/// | the connection broke | no | any peer |
/// | the peer is silent, another connection is up | no | any peer |
/// | a status without a [reason](crate::Reason) | no | another peer |
/// | a refusal with a reason | depends on the [reason](crate::Reason) | the same peers |
///
/// A status without a reason, and a peer without room, may come from load: then another peer is asked at once only
/// within a budget of a fifth of all requests and ten a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Only if it was provably not executed: for requests that write.
    NotProcessed,
    /// Also if its fate is unknown: for requests that may be executed twice.
    Always,
}

impl Retry {
    /// Returns whether the request is sent again after this failure of an attempt.
    #[doc(hidden)]
    pub fn repeats_after(self, failure: Failure) -> bool {
        self.after(failure).is_some()
    }

    /// Returns what the next attempt waits for, or `None` if the request fails.
    pub(crate) fn after(self, failure: Failure) -> Option<WaitFor> {
        match failure {
            Failure::Refused(reason) => after_refusal(reason),
            Failure::NotExecuted => Some(WaitFor::AnyPeer),
            Failure::Lost if self == Self::Always => Some(WaitFor::AnyPeer),
            Failure::Answered | Failure::TimedOut if self == Self::Always => Some(WaitFor::UntriedPeer),
            Failure::Lost | Failure::Answered | Failure::TimedOut => None,
        }
    }
}

/// How an attempt failed.
///
/// Closed: the rule has an answer for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer refused it with a reason.
    Refused(Reason),
    /// The transport proves that it was not executed.
    NotExecuted,
    /// The connection broke.
    Lost,
    /// The peer answered with a status without a reason.
    Answered,
    /// The peer answered that the time limit was over.
    TimedOut,
}

impl Failure {
    pub(crate) fn of(status: &Status) -> Self {
        match (Reason::of(status), Fate::of(status)) {
            (Some(reason), _) => Self::Refused(reason),
            (None, Fate::NotExecuted) => Self::NotExecuted,
            (None, Fate::Unknown) if TransportError::is_in(status) => Self::Lost,
            (None, Fate::Unknown) if status.code() == Code::DeadlineExceeded => Self::TimedOut,
            (None, Fate::Unknown) => Self::Answered,
        }
    }

    /// Returns whether load may have caused the failure, so that a retry might add to it.
    pub(crate) fn may_come_from_load(self) -> bool {
        matches!(self, Self::Answered | Self::TimedOut)
    }

    /// Returns whether the failure counts against the peer, because the same request would have fared better with
    /// another peer. Failures of the transport do not count: the peer's own task watches the connection. Neither do
    /// time limits, because the function may be slow on every peer; they make the peer's latency look worse.
    pub(crate) fn counts_against_peer(self) -> bool {
        match self {
            Self::Refused(reason) => match reason {
                Reason::DatabaseUnavailable
                | Reason::Draining
                | Reason::NotPrimary
                | Reason::OtherApplication
                | Reason::Overloaded
                | Reason::ProtocolVersion
                | Reason::Unauthenticated => true,
                // These depend on the request, or on what its sender knows.
                Reason::BadArguments
                | Reason::Disabled
                | Reason::HistoryLost
                | Reason::KeySettled
                | Reason::OtherCluster
                | Reason::StaleStatement
                | Reason::TooLarge
                | Reason::UnknownDatabase
                | Reason::UnknownFunction
                | Reason::Unprotected => false,
            },
            Self::Answered => true,
            Self::NotExecuted | Self::Lost | Self::TimedOut => false,
        }
    }
}

fn after_refusal(reason: Reason) -> Option<WaitFor> {
    match reason {
        // The peer is shutting down; another one will take its place.
        Reason::Draining => Some(WaitFor::AnyPeer),
        // Another peer may be able to take it, or its database restarts.
        Reason::DatabaseUnavailable => Some(WaitFor::Database),
        // Another peer may be able to take it, now or soon.
        Reason::NotPrimary
        | Reason::OtherApplication
        | Reason::ProtocolVersion
        | Reason::Unauthenticated
        | Reason::UnknownDatabase => Some(WaitFor::UntriedPeer),
        // Another peer that is up may have room, and soon this one has.
        Reason::Overloaded => Some(WaitFor::Room),
        // Another peer that is up may take it, but waiting does not help.
        Reason::Disabled | Reason::OtherCluster | Reason::UnknownFunction => Some(WaitFor::Nothing),
        // Every peer would refuse it.
        Reason::BadArguments
        | Reason::HistoryLost
        | Reason::KeySettled
        | Reason::StaleStatement
        | Reason::TooLarge
        | Reason::Unprotected => None,
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
            (Failure::TimedOut, None, Some(WaitFor::UntriedPeer)),
            (Failure::Refused(Reason::Draining), Some(WaitFor::AnyPeer), Some(WaitFor::AnyPeer)),
            (Failure::Refused(Reason::DatabaseUnavailable), Some(WaitFor::Database), Some(WaitFor::Database)),
            (Failure::Refused(Reason::NotPrimary), Some(WaitFor::UntriedPeer), Some(WaitFor::UntriedPeer)),
            (Failure::Refused(Reason::Overloaded), Some(WaitFor::Room), Some(WaitFor::Room)),
            (Failure::Refused(Reason::UnknownFunction), Some(WaitFor::Nothing), Some(WaitFor::Nothing)),
            (Failure::Refused(Reason::BadArguments), None, None),
            (Failure::Refused(Reason::HistoryLost), None, None),
            (Failure::Refused(Reason::StaleStatement), None, None),
        ];
        for (failure, writes, reads) in table {
            assert_eq!(Retry::NotProcessed.after(failure), writes, "{failure:?}");
            assert_eq!(Retry::Always.after(failure), reads, "{failure:?}");
        }
    }

    #[test]
    fn status_without_proof_is_not_retried() {
        let after = |status| Retry::NotProcessed.after(Failure::of(&status));
        assert_eq!(after(Status::unavailable("m")), None);
        assert_eq!(after(Reason::Draining.status("m")), Some(WaitFor::AnyPeer));
    }

    #[test]
    fn only_peer_faults_count() {
        let table = [
            (Reason::DatabaseUnavailable.status("m"), true),
            (Reason::NotPrimary.status("m"), true),
            (Reason::Overloaded.status("m"), true),
            (Status::internal("m"), true),
            (Reason::OtherApplication.status("m"), true),
            (Reason::Disabled.status("m"), false),
            (Reason::OtherCluster.status("m"), false),
            (Reason::UnknownFunction.status("m"), false),
            (Reason::StaleStatement.status("m"), false),
            (Status::deadline_exceeded("m"), false),
        ];
        for (status, expected) in table {
            assert_eq!(Failure::of(&status).counts_against_peer(), expected, "{status:?}");
        }
    }
}
