//! [`Protection`], whether the primary is known to have no table of outcomes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the primary of one database is known to have no table of outcomes, so that writes are sent without a key. A write with
/// one would take a further round trip.
#[derive(Debug, Default)]
pub(crate) struct Protection {
    missing_until: Mutex<Option<Instant>>,
}

impl Protection {
    /// Returns whether to send writes with a key.
    pub(crate) fn is_expected(&self) -> bool {
        let until = *self.missing_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until <= Instant::now())
    }

    /// Notes that the primary has refused a key.
    pub(crate) fn note_missing(&self) {
        *self.missing_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + INTERVAL);
    }
}

/// How long to send writes without keys. An administrator may create the table at any time.
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
