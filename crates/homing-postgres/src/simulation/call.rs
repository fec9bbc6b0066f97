//! [`Call`], one call of an application that goes to the primary, from its first attempt to its end.

use homing_rpc::{Failure, Failures, Fate, Reason, Retry};

use super::bug::Bug;
use super::executor::{AttemptId, Response, Task};
use super::table::Key;
use crate::outcome::known::Known;
use crate::position::Position;
use crate::primary::attempts::{Attempts, AttemptsEnd};
use crate::session::earlier::Earlier;

/// A call of an application.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) session: usize,
    pub(super) task: Task,
    pub(super) key: Key,
    pub(super) fingerprint: Option<u8>,
    /// Whether it runs next to the primary, and its node has no peers.
    pub(super) is_local: bool,
    /// `None` for a question, which may be repeated without a key.
    pub(super) attempts: Option<Attempts>,
    failures: Failures<Failed>,
    failed: u32,
    /// What its session had when it began.
    pub(super) earlier: Earlier,
    pub(super) state: CallState,
    /// When it ended.
    pub(super) ended: Option<u32>,
    /// Whether it is told that it is not stored.
    pub(super) is_denied: bool,
    /// When the attempt that answered it settled its key.
    pub(super) settled: Option<u32>,
    pub(super) is_out_of_time: bool,
    pub(super) is_acknowledged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallState {
    /// It is about to be sent to a peer.
    Picks,
    /// It has been sent.
    Waits(AttemptId),
    /// It pauses before it asks again.
    Pauses,
    /// It is over.
    Ended(End),
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Acknowledged,
    /// It is committed, and has no result.
    Committed,
    Outcome,
    Failed(Failed),
    /// The application has dropped it.
    Dropped,
}

/// The error of an attempt or a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    NotSent,
    HistoryLost,
    Rejected,
    KeySettled,
    KeyReused,
    Unknown,
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It goes on.
    GoesOn,

    Results(Option<AttemptId>, Option<Position>),

    Told(Known<AttemptId>, Option<Position>),

    Failed(Failed),
}

impl Call {
    pub(super) fn new(session: usize, task: Task, key: Key, attempts: Option<Attempts>, earlier: Earlier) -> Self {
        Self {
            session,
            task,
            key,
            fingerprint: None,
            is_local: false,
            attempts,
            failures: Failures::default(),
            failed: 0,
            earlier,
            state: CallState::Picks,
            ended: None,
            is_denied: false,
            settled: None,
            is_out_of_time: false,
            is_acknowledged: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, CallState::Ended(_))
    }

    /// Begins to ask again.
    pub(super) fn ask_again(&mut self) {
        self.failures = Failures::default();
        self.failed = 0;
        self.state = CallState::Picks;
    }

    /// Hears the answer of a peer.
    pub(super) fn answered(&mut self, response: Response, bug: Option<Bug>) -> Next {
        let (failure, failed) = match response {
            Response::Results(result, position) => return self.known(Next::Results(result, position)),
            Response::Told(known, position) => return self.known(Next::Told(known, position)),
            Response::Rejected => return self.known(Next::Failed(Failed::Rejected)),
            Response::KeySettled(fence) => return self.key_settled(fence),
            Response::KeyReused => return self.known(Next::Failed(Failed::KeyReused)),
            Response::Unprotected | Response::Unknown => (Failure::Answered, Failed::Unknown),
            Response::Refused(reason) => (Failure::Refused(reason), refused(reason)),
            Response::Settled(reason) => {
                self.failures.settled();
                (Failure::Refused(reason), refused(reason))
            }
        };
        if bug == Some(Bug::ForgetsUnknown) && failed != Failed::Unknown {
            self.failures.settled();
        }
        self.failed(failure, failed)
    }

    /// Hears that an attempt has failed.
    pub(super) fn failed(&mut self, failure: Failure, failed: Failed) -> Next {
        self.failed += 1;
        let is_again = Retry::Always.repeats_after(failure) && self.failed < MAX_FAILED && !self.is_local;
        if is_again {
            self.failures.note(if failed == Failed::Unknown { Fate::Unknown } else { Fate::NotExecuted }, failed);
            self.state = CallState::Picks;
            return Next::GoesOn;
        }
        let failed = std::mem::take(&mut self.failures).with(failed);
        self.round_failed(failed)
    }

    /// Hears that no peer can take it.
    pub(super) fn found_no_peer(&mut self) -> Next {
        let failed = std::mem::take(&mut self.failures).last_or(Failed::NotSent);
        self.round_failed(failed)
    }

    /// Hears that its time is over. Returns its error.
    pub(super) fn timed_out(&mut self) -> Failed {
        let failed = match self.state {
            CallState::Waits(_) => std::mem::take(&mut self.failures).with(Failed::Unknown),
            CallState::Picks => std::mem::take(&mut self.failures).last_or(Failed::NotSent),
            CallState::Pauses | CallState::Ended(_) => Failed::Unknown,
        };
        self.note(end_of(failed));
        if self.is_in_doubt() { Failed::Unknown } else { failed }
    }

    fn round_failed(&mut self, failed: Failed) -> Next {
        self.note(end_of(failed));
        if self.is_in_doubt() {
            self.state = CallState::Pauses;
            return Next::GoesOn;
        }
        Next::Failed(failed)
    }

    fn key_settled(&mut self, fence: i32) -> Next {
        let next = self.known(Next::Failed(Failed::KeySettled));
        let Some(attempts) = self.attempts.as_ref().filter(|_| fence > 0) else { return next };
        attempts.refused(fence);
        if !attempts.catches_up() {
            return next;
        }
        self.ask_again();
        Next::GoesOn
    }

    fn known(&mut self, next: Next) -> Next {
        self.note(AttemptsEnd::Answered);
        next
    }

    fn note(&self, ended: AttemptsEnd) {
        if let Some(attempts) = &self.attempts {
            attempts.note(ended);
        }
    }

    fn is_in_doubt(&self) -> bool {
        self.attempts.as_ref().is_some_and(Attempts::is_in_doubt)
    }
}

fn refused(reason: Reason) -> Failed {
    match reason {
        Reason::HistoryLost => Failed::HistoryLost,
        _ => Failed::NotSent,
    }
}

fn end_of(failed: Failed) -> AttemptsEnd {
    match failed {
        Failed::Unknown => AttemptsEnd::Unknown,
        Failed::NotSent => AttemptsEnd::NotExecuted,
        Failed::HistoryLost | Failed::Rejected | Failed::KeySettled | Failed::KeyReused => AttemptsEnd::Answered,
    }
}

/// How many attempts may fail before a call pauses.
const MAX_FAILED: u32 = 4;
