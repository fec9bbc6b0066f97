//! The order and length of the faults. A seed reproduces it.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::fault::{Fault, Hold};

/// Draws faults: all of them in a random order, and again in another one.
#[derive(Debug)]
pub(super) struct Schedule {
    faults: Vec<Fault>,
    /// What is left of this round.
    left: Vec<Fault>,
    /// How many times longer than the shortest fault the longest may last.
    stretch: f64,
    rng: SmallRng,
}

/// A fault to make.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) fault: Fault,
    pub(super) hold: Hold,
    /// What the fault draws its victim from.
    pub(super) rng: SmallRng,
}

impl Schedule {
    /// Creates a schedule of these faults, of which there is at least one, and which last up to `longest`.
    pub(super) fn new(faults: Vec<Fault>, longest: Hold, seed: u64) -> Self {
        // Short faults are as likely as long ones.
        let stretch = longest.div_duration_f64(MIN_HOLD).max(1.0);
        Self { faults, left: Vec::new(), stretch, rng: SmallRng::seed_from_u64(seed) }
    }
}

impl Iterator for Schedule {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        if self.left.is_empty() {
            self.left.clone_from(&self.faults);
            self.left.shuffle(&mut self.rng);
        }
        let fault = self.left.pop()?;
        let hold = MIN_HOLD.mul_f64(self.stretch.powf(self.rng.random_range(0.0..1.0)));
        Some(Slot { fault, hold, rng: SmallRng::seed_from_u64(self.rng.random()) })
    }
}

/// Shorter than Homing takes to notice that a peer is silent (0.85 s).
const MIN_HOLD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::super::fault::FAULTS;
    use super::*;

    fn first(seed: u64, count: usize) -> Vec<(&'static str, Duration)> {
        Schedule::new(FAULTS.to_vec(), Duration::from_secs(6), seed)
            .take(count)
            .map(|slot| (slot.fault.name, slot.hold))
            .collect()
    }

    #[test]
    fn seed_reproduces_schedule() {
        assert_eq!(first(7, 100), first(7, 100));
        assert_ne!(first(7, 100), first(8, 100));
    }

    #[test]
    fn each_round_has_every_fault() {
        let round = first(7, 2 * FAULTS.len()).split_off(FAULTS.len());
        let mut names: Vec<_> = round.iter().map(|(name, _)| *name).collect();
        let mut all = FAULTS.map(|fault| fault.name).to_vec();
        names.sort_unstable();
        all.sort_unstable();
        assert_eq!(names, all);
    }
}
