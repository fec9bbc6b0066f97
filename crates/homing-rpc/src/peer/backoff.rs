//! The delay before the next attempt.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Delays that double from one attempt to the next. Jitter spreads the attempts of many nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, attempts: 0 }
    }

    /// Returns the delay before the next attempt: between half of the step and the whole step.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        jittered(self.first.saturating_mul(factor).min(self.max), rng)
    }

    /// Starts again with the first delay, because an attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Returns a random duration between half of `duration` and the whole.
pub(crate) fn jittered(duration: Duration, rng: &mut impl Rng) -> Duration {
    duration.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        for step in [100, 200, 400, 500, 500] {
            let delay = backoff.next(&mut rng);
            assert!(delay >= Duration::from_millis(step / 2) && delay <= Duration::from_millis(step), "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
    }

    #[test]
    fn it_goes_on_for_ever() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut backoff =
            Backoff { attempts: u32::MAX - 1, ..Backoff::new(Duration::from_secs(1), Duration::from_secs(9)) };
        for _ in 0..3 {
            assert!(backoff.next(&mut rng) <= Duration::from_secs(9));
        }
    }
}
