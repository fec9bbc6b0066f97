//! [`Retries`], which decides when a transaction runs again after a serialization failure. Without IO.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::error::database::DatabaseError;

/// The attempts that a transaction has left.
#[derive(Debug)]
pub(crate) struct Retries {
    attempts_left: u32,
    deadline: Instant,
    longest_pause: Duration,
}

impl Retries {
    /// The first of `max_attempts` attempts is under way. No attempt begins after the deadline.
    pub(crate) fn new(max_attempts: u32, deadline: Instant) -> Self {
        Self { attempts_left: max_attempts.saturating_sub(1), deadline, longest_pause: FIRST_PAUSE }
    }

    /// Returns the pause before the next attempt, or `None` if there is none. The pauses double, and each is a random part
    /// of its step: transactions that were in conflict once would otherwise meet again.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Duration> {
        self.attempts_left = self.attempts_left.checked_sub(1)?;
        let pause = self.longest_pause.mul_f64(rng.random_range(0.0..=1.0));
        self.longest_pause = (self.longest_pause * 2).min(MAX_PAUSE);
        (now + pause < self.deadline).then_some(pause)
    }
}

/// Returns whether a transaction that failed with this error may succeed if it runs again: PostgreSQL has chosen it to give
/// way to others.
/// <https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html>
pub(crate) fn is_conflict(error: &DatabaseError) -> bool {
    [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED].contains(&error.code())
}

/// A conflict is over when the other transaction has ended, which takes some milliseconds next to the primary.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Several round trips of a transaction from another region.
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_and_time_are_bounded() {
        let mut rng = SmallRng::seed_from_u64(7);
        let now = Instant::now();
        let mut retries = Retries::new(20, now + Duration::from_secs(60));
        for number in 0..19 {
            let pause = retries.next(now, &mut rng).unwrap();
            assert!(pause <= MAX_PAUSE.min(FIRST_PAUSE * 2_u32.pow(number)), "{number}: {pause:?}");
        }
        assert_eq!(retries.next(now, &mut rng), None);
        assert_eq!(Retries::new(1, now + MAX_PAUSE).next(now, &mut rng), None);
        assert_eq!(Retries::new(0, now + MAX_PAUSE).next(now, &mut rng), None);
        assert_eq!(Retries::new(9, now).next(now, &mut rng), None);
    }
}
