//! [`Attempts`], the attempts of one request with a key.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use crate::error::Error;
use crate::outcome::key::IdempotencyKey;
use crate::outcome::once::Once;

/// The attempts of one request with a key.
#[derive(Debug)]
pub(crate) struct Attempts {
    key: IdempotencyKey,
    is_sent: AtomicBool,
    /// Whether an attempt may be committed, or be under way.
    is_in_doubt: AtomicBool,
    /// Whether no further attempt can tell what became of the request.
    are_given_up: AtomicBool,
    /// How often the key was settled, as far as this call was told.
    fence: AtomicI32,
    /// Whether the last attempt was refused, since the call had not been told of that.
    is_late: AtomicBool,
    /// How often that was so.
    late: AtomicU32,
}

impl Attempts {
    pub(crate) fn new(key: IdempotencyKey) -> Self {
        let no = || AtomicBool::new(false);
        let (is_sent, is_in_doubt, are_given_up, is_late) = (no(), no(), no(), no());
        Self { key, is_sent, is_in_doubt, are_given_up, fence: AtomicI32::new(0), is_late, late: AtomicU32::new(0) }
    }

    /// Begins an attempt. If the database is next to this node, only its end interrupts a write, so a first attempt in a
    /// transaction block need not keep its results.
    pub(crate) fn next(&self) -> Once {
        let again = self.is_sent.swap(true, Ordering::Relaxed) || self.key.is_own();
        Once { key: self.key, again, keeps_result: again, fence: self.fence.load(Ordering::Relaxed) }
    }

    /// Hears that an attempt did not run, since the key had been settled that many times. So no attempt that was sent before is
    /// committed, or will be.
    pub(crate) fn refused(&self, fence: i32) {
        self.fence.fetch_max(fence, Ordering::Relaxed);
        self.is_late.store(true, Ordering::Relaxed);
    }

    /// Returns whether to send the request again at once, with the fence that its last attempt was refused with.
    pub(crate) fn catches_up(&self) -> bool {
        self.is_late.swap(false, Ordering::Relaxed) && self.late.fetch_add(1, Ordering::Relaxed) < MAX_LATE
    }

    /// Notes how one or several attempts ended.
    pub(crate) fn note(&self, ended: AttemptsEnd) {
        let is_in_doubt = match ended {
            AttemptsEnd::Unknown => true,
            AttemptsEnd::NotExecuted => return,
            AttemptsEnd::Answered => false,
        };
        self.is_in_doubt.store(is_in_doubt, Ordering::Relaxed);
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed)
    }

    pub(super) fn are_given_up(&self) -> bool {
        self.are_given_up.load(Ordering::Relaxed)
    }

    /// Returns the error for a request that the server cannot protect. It was executed if an earlier attempt was.
    pub(super) fn unprotected(&self, error: Error) -> Error {
        self.are_given_up.store(true, Ordering::Relaxed);
        match self.is_in_doubt() || !self.key.is_own() {
            true => error,
            false => Error::misuse(
                "a write with a key needs the table of outcomes (see migration_sql), and a statement that can run in a \
                 transaction",
            ),
        }
    }

    /// Returns the error for a request that is still in doubt.
    pub(super) fn unknown(&self, error: Error) -> Error {
        let error = match error.is_outcome_unknown() {
            true => error,
            false => Error::outcome_unknown(format!(
                "no answer came to an earlier attempt, which may be committed, and then: {error}; ask for the outcome of its \
                 key, or check what is stored, before you call again"
            ))
            .with_source(error),
        };
        error.with_key(self.key)
    }
}

/// How often a request is sent again since its key was settled meanwhile: each time, another call or question has settled it.
const MAX_LATE: u32 = 8;

/// How one or several attempts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptsEnd {
    /// The server answered. It reports a failure of a repeated request only after it has made sure that no earlier attempt is
    /// committed or will be.
    Answered,

    /// Nothing was sent, or no primary was there. That says nothing of earlier attempts.
    NotExecuted,

    /// No answer came to one of them.
    Unknown,
}

impl AttemptsEnd {
    pub(super) fn of(error: Option<&Error>) -> Self {
        match error {
            Some(error) if error.is_outcome_unknown() => Self::Unknown,
            Some(error) if error.is_not_sent() && !error.is_stale() && !error.is_history_lost() => Self::NotExecuted,
            _ => Self::Answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_definite_answer_ends_doubt() {
        let attempts = Attempts::new(IdempotencyKey::generate());
        assert!(!attempts.next().again && attempts.next().again);
        let unknown = Error::outcome_unknown("lost");
        let table = [
            (Some(Error::not_sent("no peer")), false),
            (Some(unknown), true),
            (Some(Error::not_sent("no peer")), true),
            (Some(Error::not_primary("a replica")), true),
            (Some(Error::rejected("settled")), false),
            (Some(Error::outcome_unknown("lost")), true),
            (Some(Error::stale("settled")), false),
            (Some(Error::outcome_unknown("lost")), true),
            (Some(Error::history_lost("settled")), false),
            (Some(Error::outcome_unknown("lost")), true),
            (None, false),
        ];
        for (error, is_in_doubt) in table {
            attempts.note(AttemptsEnd::of(error.as_ref()));
            assert_eq!(attempts.is_in_doubt(), is_in_doubt, "{error:?}");
        }
    }

    #[test]
    fn refused_attempt_catches_up() {
        let attempts = Attempts::new(IdempotencyKey::generate());
        assert_eq!((attempts.next().fence, attempts.catches_up()), (0, false));
        for fence in [2, 1] {
            attempts.refused(fence);
            assert_eq!((attempts.catches_up(), attempts.catches_up(), attempts.next().fence), (true, false, 2));
        }
        for _ in 2..MAX_LATE {
            attempts.refused(3);
            assert!(attempts.catches_up());
        }
        attempts.refused(3);
        assert!(!attempts.catches_up());
    }

    #[test]
    fn own_key_is_always_looked_for() {
        assert!(Attempts::new("order 17".into()).next().again);
    }
}
