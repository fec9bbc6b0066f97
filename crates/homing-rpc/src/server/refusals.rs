//! Lines about requests and connections that are refused, at a bounded rate so that strangers cannot fill the log.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

/// Logs refusals with the address they came from. Locked while it counts.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The beginning of the current interval.
    since: Option<Instant>,
    /// The addresses with a line in this interval.
    named: BTreeSet<IpAddr>,
    /// How many refusals have had no line since the last one.
    unnamed: u64,
}

impl Refusals {
    /// Logs a refusal at `debug`, and at `warn` if this address has had no line for a minute.
    pub(crate) fn note(&self, address: SocketAddr, reason: &str) {
        debug!(%address, reason, "a caller is refused");
        if let Some(more) = self.due(Instant::now(), address.ip()) {
            warn!(%address, reason, more, "refused a caller; `more` counts refusals without a line since the last one");
        }
    }

    /// Counts a refusal. Returns how many have had no line since the last one, if this one gets a line.
    fn due(&self, now: Instant, address: IpAddr) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.duration_since(since) >= INTERVAL) {
            state.since = Some(now);
            state.named.clear();
        }
        if state.named.len() >= MAX_NAMED || !state.named.insert(address) {
            state.unnamed += 1;
            return None;
        }
        Some(std::mem::take(&mut state.unnamed))
    }
}

/// A node with a wrong secret comes back every ten seconds; one line a minute is enough to notice it.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many addresses get a line in an interval. So many nodes with wrong settings have one cause; more addresses are
/// strangers.
const MAX_NAMED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[tokio::test(start_paused = true)]
    async fn address_has_one_line_a_minute() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(now, ip(1)), Some(0));
        for second in 0..59 {
            assert_eq!(refusals.due(now + Duration::from_secs(second), ip(1)), None);
        }
        assert_eq!(refusals.due(now, ip(2)), Some(59));
        assert_eq!(refusals.due(now + INTERVAL, ip(1)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_addresses_is_bounded() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let lines = (0..=255).filter(|last| refusals.due(now, ip(*last)).is_some()).count();
        assert_eq!(lines, MAX_NAMED);
        assert_eq!(refusals.due(now + INTERVAL, ip(0)), Some(256 - MAX_NAMED as u64));
    }
}
