//! Counts of connections that are refused, and lines about them, at a bounded rate so that strangers cannot fill the log.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::handshake::refusal::Refusal;

/// How many connections a server has refused, for each reason. Cheap to clone; all clones show the same server.
///
/// Refusals are also logged, with the address they came from: one line a minute for an address, and at most 16 in all.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<RefusalsInner>);

#[derive(Debug, Default)]
struct RefusalsInner {
    counts: [AtomicU64; Refusal::ALL.len()],
    /// The lock is held while a line is decided on.
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    /// The beginning of the current interval.
    since: Option<Instant>,
    /// The addresses with a line in this interval.
    named: BTreeSet<IpAddr>,
    /// How many refusals have had no line since the last one.
    unnamed: u64,
}

impl Refusals {
    /// Returns how many connections were refused since the server started, for each reason.
    pub fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.named().map(|(refusal, count)| (refusal, count.load(Ordering::Relaxed)))
    }

    /// Counts a refusal, and logs it with what is known about it, at `debug`, or at `warn` if this address has had no line for a minute.
    ///
    /// A connection that was closed without a word never has a line at `warn`: balancers and orchestrators check a port in
    /// this way every few seconds.
    pub(crate) fn note(&self, address: SocketAddr, refusal: Refusal, detail: Option<&str>) {
        if let Some((_, count)) = self.named().find(|(known, _)| *known == refusal) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let reason = refusal.as_str();
        debug!(%address, reason, detail, "a caller is refused");
        if refusal == Refusal::Closed {
            return;
        }
        if let Some(more) = self.due(Instant::now(), address.ip()) {
            warn!(
                %address,
                reason,
                detail,
                advice = %refusal,
                more,
                "refused a caller; `more` counts refusals without a line since the last one"
            );
        }
    }

    fn named(&self) -> impl Iterator<Item = (Refusal, &AtomicU64)> {
        Refusal::ALL.into_iter().zip(&self.0.counts)
    }

    /// Counts a refusal. Returns how many have had no line since the last one, if this one gets a line.
    fn due(&self, now: Instant, address: IpAddr) -> Option<u64> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.is_none_or(|since| now.duration_since(since) >= INTERVAL) {
            lines.since = Some(now);
            lines.named.clear();
        }
        if lines.named.len() >= MAX_NAMED || !lines.named.insert(address) {
            lines.unnamed += 1;
            return None;
        }
        Some(std::mem::take(&mut lines.unnamed))
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

    #[tokio::test(start_paused = true)]
    async fn each_reason_has_its_count() {
        let refusals = Refusals::default();
        for (times, refusal) in (1..).zip(Refusal::ALL) {
            (0..times).for_each(|_| refusals.note((ip(1), 4750).into(), refusal, None));
        }
        assert!(refusals.clone().counts().eq(Refusal::ALL.into_iter().zip(1..)));
    }
}
