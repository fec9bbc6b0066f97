//! The state of a link.

use std::time::Duration;

/// A direction of a connection. Its number is its place in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer = 0,
    ToClient = 1,
}

/// What a link does to its connections at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkConditions {
    pub(super) one_way: Duration,
    pub(super) jitter: Duration,
    /// Whether nothing arrives at the server, and at the client.
    pub(super) blackhole: [bool; 2],
}

impl LinkConditions {
    /// Returns whether nothing arrives at the end of this direction.
    pub(super) fn is_silent(&self, direction: Direction) -> bool {
        self.blackhole[direction as usize]
    }

    /// Returns whether one of the directions is silent, so that no connection can be opened.
    pub(super) fn is_half_open(&self) -> bool {
        self.blackhole.contains(&true)
    }

    /// Returns how long a byte that is sent now is under way.
    pub(super) fn delay(&self) -> Duration {
        if self.jitter.is_zero() {
            return self.one_way;
        }
        self.one_way + self.jitter.mul_f64(rand::random::<f64>())
    }
}
