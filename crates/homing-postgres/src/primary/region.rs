//! [`PrimaryRegion`], the region in which the primary was last found.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homing_rpc::Region;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout_at};

/// The region in which the primary of one database was last found. At first it is the primary region of the settings.
#[derive(Debug, Default)]
pub(super) struct PrimaryRegion {
    /// `None` as long as the settings are right. The lock is held to read or replace the value only.
    found: Mutex<Option<Region>>,
    /// When the last search began or ended. The lock is held during a search, which is bounded in time, so that other calls
    /// wait for the same one.
    searched_at: AsyncMutex<Option<Instant>>,
}

impl PrimaryRegion {
    /// Returns the region, if it is another one than the settings say.
    pub(super) fn found(&self) -> Option<Region> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for the region of the primary with `ask`, unless that was done a moment ago. Returns whether it was found.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call searches again, not too soon.
    pub(super) async fn search(&self, until: Instant, ask: impl Future<Output = Option<Region>>) -> bool {
        let before = self.found();
        let Ok(mut searched_at) = timeout_at(until, self.searched_at.lock()).await else { return false };
        if self.found() != before {
            return true;
        }
        if searched_at.is_some_and(|at| at.elapsed() < SEARCH_INTERVAL) {
            return false;
        }
        *searched_at = Some(Instant::now());
        let found = ask.await;
        *searched_at = Some(Instant::now());
        let is_found = found.is_some();
        if is_found {
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        is_found
    }
}

/// The time between two searches: an outage is no reason to ask the whole world more often.
pub(super) const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
