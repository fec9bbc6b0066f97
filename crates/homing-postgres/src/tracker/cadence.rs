//! [`Cadence`] decides when to probe again.

use std::time::Duration;

use tokio::time::Instant;

use super::waiters::Front;

/// Decides when to probe again. Does no IO and takes the time as an argument.
///
/// It learns how long waiters usually wait. The first probe is sent at once. Few follow until shortly before the usual
/// time; then, for a moment, each probe follows the last one without a pause; then the pauses grow in proportion to the
/// time that has passed. So an answer is late by a fraction of the wait, and a replica that is far behind gets few
/// probes.
///
/// Probes without a pause use up a credit that grows with time, so they never take more than a share of a core, however
/// many waiters come.
#[derive(Debug)]
pub(super) struct Cadence {
    usual: Duration,
    /// The time left for probes without a pause.
    credit: Duration,
    last_probe: ProbeTimes,
    previous_probe: ProbeTimes,
}

#[derive(Clone, Copy, Debug)]
struct ProbeTimes {
    began: Instant,
    ended: Instant,
}

/// When to send the next probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextProbe {
    Now,
    At(Instant),
}

impl Cadence {
    pub(super) fn new(now: Instant) -> Self {
        let probe = ProbeTimes { began: now, ended: now };
        Self { usual: FIRST_GUESS, credit: MAX_CREDIT, last_probe: probe, previous_probe: probe }
    }

    /// Returns when the next probe is due for the waiters in front.
    pub(super) fn next(&self, front: Front, now: Instant) -> NextProbe {
        let age = self.last_probe.ended.saturating_duration_since(front.since);
        let pause = if front.is_new { Duration::ZERO } else { self.pause(age) };
        if pause.is_zero() && !self.credit(now).is_zero() {
            return NextProbe::Now;
        }
        let due = self.last_probe.ended + pause.clamp(MIN_PAUSE, MAX_PAUSE);
        if due <= now { NextProbe::Now } else { NextProbe::At(due) }
    }

    /// Notes a probe.
    pub(super) fn probed(&mut self, began: Instant, ended: Instant) {
        self.credit = self.credit(ended).saturating_sub(ended - began);
        self.previous_probe = self.last_probe;
        self.last_probe = ProbeTimes { began, ended };
    }

    /// Learns from the last probe that a position was reached. Its first waiter came at `since`. The position was
    /// reached after the probe before, so the middle between the two probes is the best guess.
    ///
    /// The usual time goes up slowly, so that one outage does not count as usual. It goes down fast, since an early
    /// probe is cheap and a late one is not.
    pub(super) fn reached(&mut self, since: Instant) {
        let latest = self.last_probe.began.saturating_duration_since(since);
        let earliest = self.previous_probe.ended.saturating_duration_since(since);
        let age = (earliest + latest) / 2;
        self.usual =
            if age > self.usual { age.min(self.usual + self.usual / 4 + MIN_STEP) } else { (self.usual + age * 3) / 4 };
    }

    /// Returns how long to pause if the waiters in front had waited for `age` at the last probe. Zero if the answer is
    /// due.
    fn pause(&self, age: Duration) -> Duration {
        let aim = self.usual * 3 / 4;
        let ahead = aim.saturating_sub(age + MIN_PAUSE);
        if ahead >= MIN_PAUSE {
            // Probe at twice the age or at the aim, whichever is sooner, so that a shorter lag than usual is noticed.
            return age.max(MIN_PAUSE).min(ahead);
        }
        if self.usual <= MAX_RUSHED_LAG && age < aim + RUSH {
            return Duration::ZERO;
        }
        (age / 8).max(MIN_PAUSE)
    }

    fn credit(&self, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.last_probe.ended) / 2;
        (self.credit + earned).min(MAX_CREDIT)
    }
}

/// The usual time before anything is learned: that of a replica in the same building.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// Up to this usual time, the moment of the answer is known well enough for probes without a pause.
const MAX_RUSHED_LAG: Duration = Duration::from_millis(8);

/// How long to probe without a pause, starting a little before the usual time.
const RUSH: Duration = Duration::from_millis(3);

/// The most time that can be saved up for probes without a pause: enough for one rush. Half of the time that passes is
/// added to the credit.
const MAX_CREDIT: Duration = Duration::from_millis(3);

/// The shortest pause between two probes: tokio's timers count whole milliseconds and end up to one too late.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause between two probes: how much later an answer can be on account of the pause, after an outage of any
/// length.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Lets the usual time grow from zero.
const MIN_STEP: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits once for an answer that comes after `lag`. Each probe takes `probe`; timers are as coarse as tokio's.
    /// Returns how late the answer was noticed, and how many probes it took.
    fn wait(cadence: &mut Cadence, now: &mut Instant, lag: Duration, probe: Duration) -> (Duration, usize) {
        let since = *now;
        let mut probes = 0;
        loop {
            let front = Front { since, is_new: probes == 0 };
            if let NextProbe::At(instant) = cadence.next(front, *now) {
                *now = round_up(instant, since);
                continue;
            }
            let began = *now;
            *now += probe;
            probes += 1;
            cadence.probed(began, *now);
            if began - since >= lag {
                cadence.reached(since);
                return (*now - since - lag, probes);
            }
        }
    }

    fn round_up(instant: Instant, since: Instant) -> Instant {
        let millis = (instant - since).as_micros().div_ceil(1000);
        since + Duration::from_millis(u64::try_from(millis).unwrap())
    }

    const PROBE: Duration = Duration::from_micros(100);

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Lets a cadence learn from many waits, and returns the result of the last one.
    fn learned(lag: Duration) -> (Duration, usize) {
        let (mut now, mut last) = (Instant::now(), None);
        let mut cadence = Cadence::new(now);
        for _ in 0..100 {
            now += millis(20);
            last = Some(wait(&mut cadence, &mut now, lag, PROBE));
        }
        last.unwrap()
    }

    #[test]
    fn usual_lag_takes_few_probes() {
        for (lag, latest, max_probes) in [
            (micros(0), micros(100), 1),
            (micros(300), micros(200), 4),
            (micros(700), micros(200), 8),
            (millis(2), micros(200), 22),
            (millis(6), micros(200), 25),
            (millis(20), millis(4), 12),
            (millis(100), millis(20), 14),
            (millis(1000), millis(51), 30),
        ] {
            let (late, probes) = learned(lag);
            assert!(late <= latest, "{lag:?}: late by {late:?}");
            assert!(probes <= max_probes, "{lag:?}: {probes} probes");
        }
    }

    #[test]
    fn outage_does_not_count_as_usual() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        for _ in 0..20 {
            now += millis(20);
            wait(&mut cadence, &mut now, micros(700), PROBE);
        }
        let (late, probes) = wait(&mut cadence, &mut now, millis(10_000), PROBE);
        assert!(late <= MAX_PAUSE + PROBE && probes <= 300, "late by {late:?} after {probes} probes");
        now += millis(20);
        let (late, _) = wait(&mut cadence, &mut now, micros(700), PROBE);
        assert!(late <= micros(300), "the next wait is late by {late:?}");
    }

    #[test]
    fn lag_that_became_short_is_noticed() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        for _ in 0..50 {
            wait(&mut cadence, &mut now, millis(300), PROBE);
        }
        let late = (0..8).map(|_| {
            now += millis(20);
            wait(&mut cadence, &mut now, micros(700), PROBE).0
        });
        let late: Vec<_> = late.collect();
        assert!(late[0] <= millis(2), "{late:?}");
        assert!(late[7] <= micros(300), "{late:?}");
    }

    #[test]
    fn rush_takes_at_most_half_the_time() {
        let start = Instant::now();
        let (mut now, mut busy) = (start, Duration::ZERO);
        let mut cadence = Cadence::new(now);
        while now - start < millis(1000) {
            // The waiter in front is always a new one.
            match cadence.next(Front { since: now, is_new: true }, now) {
                NextProbe::At(instant) => now = round_up(instant, start),
                NextProbe::Now => {
                    cadence.probed(now, now + PROBE);
                    now += PROBE;
                    busy += PROBE;
                }
            }
        }
        assert!(busy <= millis(505), "{busy:?}");
    }

    #[test]
    fn slow_probes_leave_time_between_them() {
        let start = Instant::now();
        let mut cadence = Cadence::new(start);
        cadence.probed(start, start + millis(400));
        let front = Front { since: start, is_new: true };
        assert_eq!(cadence.next(front, start + millis(400)), NextProbe::At(start + millis(400) + MIN_PAUSE));
    }
}
