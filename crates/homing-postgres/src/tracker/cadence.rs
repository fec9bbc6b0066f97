//! [`Cadence`], when to look again.

use std::time::Duration;

use tokio::time::Instant;

use super::waiters::Front;

/// When to look again. Pure: it is told the time.
///
/// It learns how long waiters usually wait, and aims: the first look is made at once, then few until shortly before
/// the usual time, then one right after the other for a moment, and then ever fewer, in proportion to how long it has
/// taken already. So an answer is late by a fraction of the wait, and a replica that is far behind is left in peace.
///
/// Looking without a pause is paid from a credit that grows with time, so that it never takes more than a share of a
/// core however many come.
#[derive(Debug)]
pub(super) struct Cadence {
    usual: Duration,
    /// What may be spent on looks without a pause.
    credit: Duration,
    last_look: ProbeTimes,
    previous_look: ProbeTimes,
}

#[derive(Clone, Copy, Debug)]
struct ProbeTimes {
    began: Instant,
    ended: Instant,
}

/// When to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextProbe {
    Now,
    At(Instant),
}

impl Cadence {
    pub(super) fn new(now: Instant) -> Self {
        let look = ProbeTimes { began: now, ended: now };
        Self { usual: FIRST_GUESS, credit: CREDIT_LIMIT, last_look: look, previous_look: look }
    }

    /// When the next look is due for those in front.
    pub(super) fn next(&self, front: Front, now: Instant) -> NextProbe {
        let age = self.last_look.ended.saturating_duration_since(front.since);
        let pause = if front.is_new { Duration::ZERO } else { self.pause(age) };
        if pause.is_zero() && !self.credit(now).is_zero() {
            return NextProbe::Now;
        }
        let due = self.last_look.ended + pause.clamp(SHORTEST_PAUSE, MAX_PAUSE);
        if due <= now { NextProbe::Now } else { NextProbe::At(due) }
    }

    /// There was a look.
    pub(super) fn looked(&mut self, began: Instant, ended: Instant) {
        self.credit = self.credit(ended).saturating_sub(ended - began);
        self.previous_look = self.last_look;
        self.last_look = ProbeTimes { began, ended };
    }

    /// The last look showed that a position is reached for which somebody has waited since then. It was reached after
    /// the look before, so the middle is the best guess.
    ///
    /// The usual time goes up slowly, so that one outage does not count as usual, and down fast, since early looks are
    /// cheap and late ones are not.
    pub(super) fn reached(&mut self, since: Instant) {
        let latest = self.last_look.began.saturating_duration_since(since);
        let earliest = self.previous_look.ended.saturating_duration_since(since);
        let age = (earliest + latest) / 2;
        self.usual = if age > self.usual {
            age.min(self.usual + self.usual / 4 + SMALLEST_STEP)
        } else {
            (self.usual + age * 3) / 4
        };
    }

    /// How long to pause when those in front had waited this long at the last look. Zero when the answer is due.
    fn pause(&self, age: Duration) -> Duration {
        let aim = self.usual * 3 / 4;
        let ahead = aim.saturating_sub(age + SHORTEST_PAUSE);
        if ahead >= SHORTEST_PAUSE {
            // At twice the age or at the aim, whatever is sooner: a lag that is less than usual shows.
            return age.max(SHORTEST_PAUSE).min(ahead);
        }
        if self.usual <= NEAR && age < aim + RUSH {
            return Duration::ZERO;
        }
        (age / 8).max(SHORTEST_PAUSE)
    }

    fn credit(&self, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.last_look.ended) / 2;
        (self.credit + earned).min(CREDIT_LIMIT)
    }
}

/// Before anything is learned: what a replica in the same building takes.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// Up to this usual time, the moment of the answer is known well enough for looking without a pause.
const NEAR: Duration = Duration::from_millis(8);

/// How long to look without a pause, from a little before the usual time.
const RUSH: Duration = Duration::from_millis(3);

/// How much looking without a pause can be saved up for; half of the time that passes is added. Enough for one rush.
const CREDIT_LIMIT: Duration = Duration::from_millis(3);

/// tokio's timers know whole milliseconds, and end up to one too late.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How late an answer is at most, on account of the pause, after an outage of any length.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Lets the usual time grow from nothing.
const SMALLEST_STEP: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// One wait for an answer that comes after `lag`, with looks of `look` each and timers as coarse as tokio's.
    /// Returns how late it was noticed, and how many looks it took.
    fn wait(cadence: &mut Cadence, now: &mut Instant, lag: Duration, look: Duration) -> (Duration, usize) {
        let since = *now;
        let mut looks = 0;
        loop {
            let front = Front { since, is_new: looks == 0 };
            if let NextProbe::At(instant) = cadence.next(front, *now) {
                *now = round_up(instant, since);
                continue;
            }
            let began = *now;
            *now += look;
            looks += 1;
            cadence.looked(began, *now);
            if began - since >= lag {
                cadence.reached(since);
                return (*now - since - lag, looks);
            }
        }
    }

    fn round_up(instant: Instant, since: Instant) -> Instant {
        let millis = (instant - since).as_micros().div_ceil(1000);
        since + Duration::from_millis(u64::try_from(millis).unwrap())
    }

    const LOOK: Duration = Duration::from_micros(100);

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Lets it learn, with pauses between the waits, and returns the last one.
    fn learned(lag: Duration) -> (Duration, usize) {
        let (mut now, mut last) = (Instant::now(), None);
        let mut cadence = Cadence::new(now);
        for _ in 0..100 {
            now += millis(20);
            last = Some(wait(&mut cadence, &mut now, lag, LOOK));
        }
        last.unwrap()
    }

    #[test]
    fn usual_lag_is_met_closely_with_few_looks() {
        for (lag, latest, most_looks) in [
            (micros(0), micros(100), 1),
            (micros(300), micros(200), 4),
            (micros(700), micros(200), 8),
            (millis(2), micros(200), 22),
            (millis(6), micros(200), 25),
            (millis(20), millis(4), 12),
            (millis(100), millis(20), 14),
            (millis(1000), millis(51), 30),
        ] {
            let (late, looks) = learned(lag);
            assert!(late <= latest, "{lag:?}: late by {late:?}");
            assert!(looks <= most_looks, "{lag:?}: {looks} looks");
        }
    }

    #[test]
    fn outage_costs_few_looks_and_is_not_taken_as_usual() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        for _ in 0..20 {
            now += millis(20);
            wait(&mut cadence, &mut now, micros(700), LOOK);
        }
        let (late, looks) = wait(&mut cadence, &mut now, millis(10_000), LOOK);
        assert!(late <= MAX_PAUSE + LOOK && looks <= 300, "late by {late:?} after {looks} looks");
        now += millis(20);
        let (late, _) = wait(&mut cadence, &mut now, micros(700), LOOK);
        assert!(late <= micros(300), "the next wait is late by {late:?}");
    }

    #[test]
    fn lag_that_became_short_is_noticed() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        for _ in 0..50 {
            wait(&mut cadence, &mut now, millis(300), LOOK);
        }
        let late = (0..8).map(|_| {
            now += millis(20);
            wait(&mut cadence, &mut now, micros(700), LOOK).0
        });
        let late: Vec<_> = late.collect();
        assert!(late[0] <= millis(2), "{late:?}");
        assert!(late[7] <= micros(300), "{late:?}");
    }

    #[test]
    fn looks_without_a_pause_take_half_of_the_time_at_most() {
        let start = Instant::now();
        let (mut now, mut busy) = (start, Duration::ZERO);
        let mut cadence = Cadence::new(now);
        while now - start < millis(1000) {
            // Somebody new is always in front.
            match cadence.next(Front { since: now, is_new: true }, now) {
                NextProbe::At(instant) => now = round_up(instant, start),
                NextProbe::Now => {
                    cadence.looked(now, now + LOOK);
                    now += LOOK;
                    busy += LOOK;
                }
            }
        }
        assert!(busy <= millis(505), "{busy:?}");
    }

    #[test]
    fn slow_looks_leave_time_between_them() {
        let start = Instant::now();
        let mut cadence = Cadence::new(start);
        cadence.looked(start, start + millis(400));
        let front = Front { since: start, is_new: true };
        assert_eq!(cadence.next(front, start + millis(400)), NextProbe::At(start + millis(400) + SHORTEST_PAUSE));
    }
}
