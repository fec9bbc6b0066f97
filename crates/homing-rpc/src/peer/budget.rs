//! Limits how many requests are sent again.

use std::time::Duration;

use tokio::time::Instant;

/// A budget for second attempts: a fraction of the requests, and a few more. When peers refuse because they have too much
/// to do, as many attempts as there are peers for each request would give them several times as much.
///
/// Only attempts count that load may have caused. An attempt whose connection broke, or that a peer refused because it
/// shuts down or is not the primary, is repeated without it.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: MAX_TOKENS, at: now }
    }

    /// Records a request.
    pub(crate) fn deposit(&mut self) {
        self.add(PER_REQUEST);
    }

    /// Returns whether a request may be sent again, which takes a token.
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.add(elapsed.div_duration_f64(TOKEN_INTERVAL));
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }

    fn add(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(MAX_TOKENS);
    }
}

/// A fifth of the requests may be sent again, so that retries add a fifth to the load at most.
const PER_REQUEST: f64 = 0.2;

/// A node that sends few requests may repeat ten a second.
const TOKEN_INTERVAL: Duration = Duration::from_millis(100);

/// How many retries may follow each other at once.
const MAX_TOKENS: f64 = 32.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(now: Instant) -> Budget {
        let mut budget = Budget::new(now);
        let retries = (0..1000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(retries, 32);
        budget
    }

    #[test]
    fn retries_are_part_of_requests() {
        let now = Instant::now();
        let mut budget = spent(now);
        let retries = (0..1000).filter(|_| {
            budget.deposit();
            budget.withdraw(now)
        });
        let retries = retries.count();
        assert!((190..=200).contains(&retries), "{retries}");
    }

    #[test]
    fn tokens_come_back_with_time() {
        let now = Instant::now();
        let mut budget = spent(now);
        assert!(!budget.withdraw(now + TOKEN_INTERVAL / 2));
        assert!(budget.withdraw(now + TOKEN_INTERVAL));
        assert!(!budget.withdraw(now + TOKEN_INTERVAL));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| budget.withdraw(later)).count(), 32);
    }
}
