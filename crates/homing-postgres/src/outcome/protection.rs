//! [`Protection`], whether a database is known to have no table of outcomes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a database is known to have no table of outcomes, so that writes are sent without a key, and nobody looks for the table.
/// Either would take a further round trip.
#[derive(Debug, Default)]
pub(crate) struct Protection {
    missing_until: Mutex<Option<Instant>>,
}

impl Protection {
    /// Returns whether there may be a table.
    pub(crate) fn is_expected(&self) -> bool {
        let until = *self.missing_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until <= Instant::now())
    }

    /// Notes that there is none.
    pub(crate) fn note_missing(&self) {
        *self.missing_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + INTERVAL);
    }
}

/// How long to go on without the table. An administrator may create it at any time.
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_are_tried_again_later() {
        let protection = Protection::default();
        assert!(protection.is_expected());
        protection.note_missing();
        assert!(!protection.is_expected());
        tokio::time::advance(INTERVAL).await;
        assert!(protection.is_expected());
    }
}
