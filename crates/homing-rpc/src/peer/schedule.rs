//! Decides when the addresses of a region are looked up.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::peer::backoff::Backoff;

/// When the next look-up is due: after the time to live of the last answer, after a delay if there was no usable answer,
/// or early because a peer may have been replaced.
#[derive(Debug)]
pub(crate) struct Schedule {
    due: Instant,
    /// The end of the last look-up.
    last: Option<Instant>,
    /// An early look-up was asked for while another one was under way, whose answer may already be old.
    again: Option<Pace>,
    backoff: Backoff,
}

/// How soon an early look-up follows the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A peer was lost, or a call waits because no peer is up.
    Fast,
    /// No peer is up, and no call waits.
    Slow,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now, last: None, again: None, backoff: Backoff::new(FIRST_RETRY, MAX_RETRY) }
    }

    /// Returns when the next look-up is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Records the end of a look-up with an answer that is valid for `ttl`.
    pub(crate) fn answered(&mut self, now: Instant, ttl: Duration, rng: &mut impl Rng) {
        self.backoff.reset();
        self.ended(now, ttl, rng);
    }

    /// Records the end of a look-up without a usable answer.
    pub(crate) fn failed(&mut self, now: Instant, rng: &mut impl Rng) {
        let retry = self.backoff.next(rng);
        self.ended(now, retry, rng);
    }

    /// Makes the next look-up due early, at a bounded rate. Jitter spreads the look-ups of nodes that lost the same
    /// peer.
    pub(crate) fn hasten(&mut self, now: Instant, pace: Pace, looking_up: bool, rng: &mut impl Rng) {
        if looking_up {
            self.again = Some(pace);
            return;
        }
        let interval = match pace {
            Pace::Fast => FAST_INTERVAL,
            Pace::Slow => SLOW_INTERVAL,
        };
        let earliest = self.last.map_or(now, |last| now.max(last + interval));
        self.due = self.due.min(earliest + rng.random_range(Duration::ZERO..=MAX_JITTER));
    }

    fn ended(&mut self, now: Instant, next: Duration, rng: &mut impl Rng) {
        self.last = Some(now);
        self.due = now + next;
        if let Some(pace) = self.again.take() {
            self.hasten(now, pace, false, rng);
        }
    }
}

/// The shortest time between two look-ups. A name server can easily answer two questions a second, and a call that waits
/// for a replaced peer has seconds.
const FAST_INTERVAL: Duration = Duration::from_millis(500);

/// The time between look-ups while no peer is up and no call waits: longer, because no call needs the answer yet.
const SLOW_INTERVAL: Duration = Duration::from_secs(5);

/// The longest random delay of an early look-up.
const MAX_JITTER: Duration = Duration::from_millis(200);

/// The delays between look-ups without a usable answer: the first and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn rng() -> SmallRng {
        SmallRng::seed_from_u64(7)
    }

    #[test]
    fn early_look_up_has_bounded_rate() {
        let start = Instant::now();
        let table = [
            (Pace::Fast, Duration::from_millis(1), FAST_INTERVAL),
            (Pace::Fast, FAST_INTERVAL, FAST_INTERVAL),
            (Pace::Fast, Duration::from_secs(30), Duration::from_secs(30)),
            (Pace::Slow, Duration::from_millis(1), SLOW_INTERVAL),
            (Pace::Slow, Duration::from_secs(30), Duration::from_secs(30)),
            (Pace::Fast, 2 * TTL, TTL),
        ];
        for (pace, after, expected) in table {
            let mut schedule = Schedule::new(start);
            schedule.answered(start, TTL, &mut rng());
            for _ in 0..3 {
                schedule.hasten(start + after, pace, false, &mut rng());
            }
            let due = schedule.due() - start;
            assert!(due >= expected && due <= expected + MAX_JITTER, "{pace:?} after {after:?}: {due:?}");
        }
    }

    #[test]
    fn early_look_ups_of_nodes_are_spread() {
        let start = Instant::now();
        let mut rng = rng();
        let dues = [(); 8].map(|()| {
            let mut schedule = Schedule::new(start);
            schedule.answered(start, TTL, &mut rng);
            schedule.hasten(start + TTL / 2, Pace::Fast, false, &mut rng);
            schedule.due()
        });
        assert!(dues.iter().any(|due| *due != dues[0]), "{dues:?}");
    }

    #[test]
    fn answer_under_way_is_not_enough() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.hasten(start, Pace::Fast, true, &mut rng());
        assert_eq!(schedule.due(), start);
        schedule.answered(start, TTL, &mut rng());
        assert!(schedule.due() <= start + FAST_INTERVAL + MAX_JITTER);
        schedule.answered(start, TTL, &mut rng());
        assert_eq!(schedule.due(), start + TTL);
    }

    #[test]
    fn failed_look_ups_back_off() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        for longest in [1, 2, 4, 8, 15, 15].map(Duration::from_secs) {
            schedule.failed(start, &mut rng());
            let delay = schedule.due() - start;
            assert!(delay >= longest / 2 && delay <= longest, "{delay:?}");
        }
        schedule.answered(start, TTL, &mut rng());
        schedule.failed(start, &mut rng());
        assert!(schedule.due() <= start + FIRST_RETRY);
    }
}
