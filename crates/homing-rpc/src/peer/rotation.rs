//! Decides whether a peer that is up stays in the rotation.

use std::time::Duration;

use tokio::time::Instant;

/// The failures of a peer. After [`MAX_FAILURES`] in a row the peer leaves the rotation: calls prefer other peers. From
/// time to time one call tries the peer; if that succeeds, the peer is back.
///
/// A peer that refuses is quick and has no calls in flight, so its load alone would attract calls.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    failures: u32,
    out: Option<Out>,
}

/// A peer out of the rotation.
#[derive(Clone, Copy, Debug)]
struct Out {
    /// When a call may try the peer.
    probe_at: Instant,
    delay: Duration,
    probing: bool,
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Left,
    Returned,
}

impl Rotation {
    /// Returns whether the peer may get a call: it is in the rotation, or it is time to try it.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        self.out.is_none_or(|out| out.probe_at <= now)
    }

    /// Records that a call is sent to the peer. If it tries a peer out of the rotation, no other call does so before
    /// the next delay is over.
    pub(crate) fn sent(&mut self, now: Instant) {
        if let Some(out) = &mut self.out
            && out.probe_at <= now
        {
            out.probing = true;
            out.probe_at = now + out.delay;
        }
    }

    /// Records a call that the peer answered as it should.
    pub(crate) fn succeeded(&mut self) -> Option<Change> {
        let was_out = self.out.is_some();
        *self = Self::default();
        was_out.then_some(Change::Returned)
    }

    /// Records a call that the peer refused, or that failed because of the peer.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        match &mut self.out {
            None if self.failures < MAX_FAILURES => None,
            None => {
                self.out = Some(Out { probe_at: now + FIRST_DELAY, delay: FIRST_DELAY, probing: false });
                Some(Change::Left)
            }
            // Other failures are those of calls that were sent before the peer left the rotation.
            Some(out) if out.probing => {
                let delay = (2 * out.delay).min(MAX_DELAY);
                *out = Out { probe_at: now + delay, delay, probing: false };
                None
            }
            Some(_) => None,
        }
    }
}

/// After so many failures in a row a peer leaves the rotation. One failure may be chance, and a call that another peer
/// can take has time for three.
const MAX_FAILURES: u32 = 3;

/// The delays before a call tries a peer out of the rotation: the first and the longest.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn out(now: Instant) -> Rotation {
        let mut rotation = Rotation::default();
        assert_eq!([(); 3].map(|()| rotation.failed(now)), [None, None, Some(Change::Left)]);
        rotation
    }

    #[test]
    fn failures_in_a_row_count() {
        let now = Instant::now();
        let mut rotation = Rotation::default();
        for _ in 0..10 {
            assert_eq!([rotation.failed(now), rotation.failed(now), rotation.succeeded()], [None; 3]);
        }
        assert!(rotation.admits(now));
        assert!(!out(now).admits(now));
    }

    #[test]
    fn one_call_at_a_time_probes() {
        let now = Instant::now();
        let mut rotation = out(now);
        assert!(!rotation.admits(now + SECOND / 2));
        for (after, delay) in [(1, 2), (3, 4), (7, 8), (15, 16), (31, 30), (61, 30)] {
            let at = now + after * SECOND;
            assert!(rotation.admits(at), "{after}");
            rotation.sent(at);
            assert!(!rotation.admits(at));
            assert_eq!(rotation.failed(at), None);
            assert!(!rotation.admits(at + delay * SECOND - SECOND / 2), "{after}");
        }
    }

    #[test]
    fn lost_probe_is_repeated() {
        let now = Instant::now();
        let mut rotation = out(now);
        rotation.sent(now + SECOND);
        assert!(rotation.admits(now + 2 * SECOND));
    }

    #[test]
    fn successful_probe_ends_it() {
        let now = Instant::now();
        let mut rotation = out(now);
        rotation.sent(now + SECOND);
        assert_eq!(rotation.succeeded(), Some(Change::Returned));
        assert!(rotation.admits(now + SECOND));
        assert_eq!(rotation.failed(now + SECOND), None);
    }

    #[test]
    fn late_failures_do_not_prolong_it() {
        let now = Instant::now();
        let mut rotation = out(now);
        for _ in 0..100 {
            assert_eq!(rotation.failed(now), None);
        }
        assert!(rotation.admits(now + SECOND));
    }
}
