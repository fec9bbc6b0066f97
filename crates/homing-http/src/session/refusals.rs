//! Tokens that were refused, said without letting strangers fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homing::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

/// Counts what was refused, and says it once in a while.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Ignores a token: a line at `debug`, and one at `warn` if there was none for a while.
    pub(crate) fn ignore(&self, error: &Error) {
        debug!(%error, "a token is ignored");
        if let Some(tokens) = self.due(Instant::now()) {
            warn!(%error, tokens, "tokens are ignored; the nodes may have different secrets, or somebody makes them up");
        }
    }

    /// How many there were since the last time, if it is time to say so.
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

const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_said_once_a_minute_with_its_number() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.due(now), Some(1));
        for second in 0..59 {
            assert_eq!(refusals.due(now + Duration::from_secs(second)), None);
        }
        assert_eq!(refusals.due(now + INTERVAL), Some(60));
    }
}
