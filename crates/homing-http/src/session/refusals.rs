//! Warnings about refused tokens, at a bounded rate so that strangers cannot fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homing::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

/// Counts refused tokens, and logs their number once in a while. Locked while it counts.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Logs an ignored token at `debug`, and at `warn` if the last warning is a minute old.
    pub(crate) fn ignore(&self, error: &Error) {
        debug!(%error, "a token is ignored");
        if let Some(tokens) = self.due(Instant::now()) {
            warn!(%error, tokens, "ignored invalid tokens; the nodes may have different secrets, or a client forges tokens");
        }
    }

    /// Counts a token. Returns how many there were since the last warning, if the next one is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        if state.said.is_some_and(|said| now.duration_since(said) < INTERVAL) {
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

/// One warning a minute is enough to notice; every refusal is in the log at `debug` and in the metrics.
const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flood_is_logged_once_a_minute() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.due(now), Some(1));
        for second in 0..59 {
            assert_eq!(refusals.due(now + Duration::from_secs(second)), None);
        }
        assert_eq!(refusals.due(now + INTERVAL), Some(60));
    }
}
