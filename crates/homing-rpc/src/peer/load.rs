//! The load of peers, and the choice of the less busy one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::rotation::{Change, Rotation};

/// Chooses by the power of two choices: the cheaper one of two random candidates, or either of them if their costs are
/// similar. This spreads load almost as evenly as comparing all candidates, and does not send all callers to the one
/// that looks best at the moment. <https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf>
pub(crate) fn choose(costs: &[f64], rng: &mut impl Rng) -> Option<usize> {
    match costs.len() {
        0 => None,
        1 => Some(0),
        count => {
            let first = rng.random_range(0..count);
            let second = (first + rng.random_range(1..count)) % count;
            Some(if costs[second] * NEAR < costs[first] { second } else { first })
        }
    }
}

/// How busy a peer is, as this node sees it.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicUsize,
    /// Notified when a call begins.
    begun: Notify,
    /// The lock is held for one operation on the average.
    latency: Mutex<Latency>,
    /// The lock is held for one operation on the rotation.
    rotation: Mutex<Rotation>,
}

impl Load {
    /// Counts a call as in flight until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.rotation().sent(Instant::now());
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        InFlight(Arc::clone(self))
    }

    /// Returns how many calls are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until a call is in flight.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn is_busy(&self) {
        while self.in_flight() == 0 {
            self.begun.notified().await;
        }
    }

    /// Returns when the last answer arrived, but not an earlier time than this one. `None` if no calls are in flight.
    pub(crate) fn quiet_since(&self, since: Instant) -> Option<Instant> {
        (self.in_flight() > 0).then(|| self.latency().answered_at.map_or(since, |at| at.max(since)))
    }

    /// Records that an answer arrived after this time.
    pub(crate) fn observe(&self, now: Instant, latency: Duration) {
        let mut average = self.latency();
        average.observe(now, latency);
        average.answered_at = Some(now);
    }

    /// Records that no answer arrived within this time.
    pub(crate) fn observe_silence(&self, now: Instant, latency: Duration) {
        self.latency().observe(now, latency);
    }

    /// Returns the shortest time in which the peer has answered, which is the time of the network.
    pub(crate) fn round_trip(&self) -> Duration {
        self.latency().floor.map_or(Duration::ZERO, Duration::from_secs_f64)
    }

    /// Returns the cost of another call: the expected latency, times the number of calls that would share the peer.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        let in_flight = self.in_flight() as f64;
        (self.latency().expected(now) + NOISE) * (in_flight + 1.0)
    }

    /// Returns whether the peer may get a call. A peer that failed several times in a row may not, except for a call
    /// from time to time that tries it.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        self.rotation().admits(now)
    }

    /// Records that the peer answered a call as it should. Returns whether it is back in the rotation.
    pub(crate) fn succeeded(&self) -> Option<Change> {
        self.rotation().succeeded()
    }

    /// Records that the peer refused a call, or failed it. Returns whether it has left the rotation.
    pub(crate) fn failed(&self, now: Instant) -> Option<Change> {
        self.rotation().failed(now)
    }

    fn rotation(&self) -> std::sync::MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latency(&self) -> std::sync::MutexGuard<'_, Latency> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A moving average of latencies, in seconds. It jumps up to a slow answer and decays with time, so that a peer that
/// was slow once gets calls again.
#[derive(Debug, Default)]
struct Latency {
    average: f64,
    floor: Option<f64>,
    at: Option<Instant>,
    answered_at: Option<Instant>,
}

impl Latency {
    fn observe(&mut self, now: Instant, latency: Duration) {
        let sample = latency.as_secs_f64();
        let expected = self.expected(now);
        self.floor = Some(self.floor.map_or(sample, |floor| floor.min(sample)));
        self.average = if sample > expected { sample } else { expected + (sample - expected) * WEIGHT };
        self.at = Some(now);
    }

    /// Returns the average, decayed towards zero. It does not stop at the fastest answer, because that may have been
    /// slow too.
    fn expected(&self, now: Instant) -> f64 {
        let elapsed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.average * (-elapsed / DECAY_SECONDS).exp()
    }
}

/// The weight of a fast answer in the average.
const WEIGHT: f64 = 0.2;

/// After this many seconds the weight of a slow answer is about a third.
const DECAY_SECONDS: f64 = 10.0;

/// Added to every latency, because much smaller differences are noise. In seconds.
const NOISE: f64 = 0.001;

/// Costs that differ by less than this factor count as equal.
const NEAR: f64 = 1.2;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn shares(costs: &[f64]) -> Vec<usize> {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut shares = vec![0; costs.len()];
        for _ in 0..10_000 {
            shares[choose(costs, &mut rng).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn single_candidate_is_chosen() {
        let mut rng = SmallRng::seed_from_u64(7);
        assert_eq!(choose(&[], &mut rng), None);
        assert_eq!(choose(&[1.0], &mut rng), Some(0));
    }

    #[test]
    fn cheaper_of_two_is_chosen() {
        assert_eq!(shares(&[2.0, 1.0]), [0, 10_000]);
        for near in [[1.0, 1.0], [1.0, 1.1], [1.1, 1.0]] {
            let shares = shares(&near);
            assert!(shares.iter().all(|share| *share > 4_500), "{shares:?}");
        }
    }

    #[test]
    fn dearest_of_many_is_never_chosen() {
        let shares = shares(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(shares[3], 0);
        assert!(shares[0] > shares[1] && shares[1] > shares[2] && shares[2] > 0, "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_and_slow_answers_cost() {
        let now = Instant::now();
        let (busy, idle, slow) = (Arc::new(Load::default()), Arc::new(Load::default()), Arc::new(Load::default()));
        for (load, latency) in [(&busy, MS), (&idle, MS), (&slow, 3 * MS)] {
            load.observe(now, latency);
        }
        let calls = [busy.begin(), busy.begin(), busy.begin()];
        assert!(idle.cost(now) < slow.cost(now) && slow.cost(now) < busy.cost(now));
        drop(calls);
        assert_eq!(busy.cost(now), idle.cost(now));
    }

    #[tokio::test(start_paused = true)]
    async fn only_answers_end_the_quiet() {
        let start = Instant::now();
        let load = Arc::new(Load::default());
        assert_eq!(load.quiet_since(start), None, "nothing is in flight");
        let _call = load.begin();
        assert_eq!(load.quiet_since(start), Some(start));
        load.observe_silence(start + MS, MS);
        assert_eq!(load.quiet_since(start), Some(start));
        load.observe(start + MS, MS);
        assert_eq!(load.quiet_since(start), Some(start + MS));
        assert_eq!(load.quiet_since(start + 2 * MS), Some(start + 2 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answer_decays_with_time() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.observe(start, 10 * MS);
        latency.observe(start, 1000 * MS);
        assert!((latency.expected(start) - 1.0).abs() < 1e-9);
        assert!(latency.expected(start + Duration::from_secs(60)) < 0.01);
        latency.observe(start, 10 * MS);
        assert!(latency.expected(start) < 0.9);
    }

    #[tokio::test(start_paused = true)]
    async fn round_trip_is_fastest_answer() {
        let load = Load::default();
        assert_eq!(load.round_trip(), Duration::ZERO);
        for latency in [30 * MS, 20 * MS, 900 * MS] {
            load.observe(Instant::now(), latency);
        }
        assert_eq!(load.round_trip(), 20 * MS);
    }
}
