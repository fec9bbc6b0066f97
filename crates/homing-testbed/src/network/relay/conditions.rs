//! The state of a link.

use std::time::Duration;

/// What a link does to its connections at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkConditions {
    pub(super) one_way: Duration,
    pub(super) jitter: Duration,
    pub(super) blackhole: bool,
}

impl LinkConditions {
    /// Returns how long a byte that is sent now is under way.
    pub(super) fn delay(&self) -> Duration {
        if self.jitter.is_zero() {
            return self.one_way;
        }
        self.one_way + self.jitter.mul_f64(rand::random::<f64>())
    }
}
