//! The clock that all processes of a run share.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started.
pub(super) type Micros = u64;

/// Reads the clock from the system itself: the wall clock of a node may be moved, and what moves it may move the clock of the
/// standard library too.
pub(super) fn now() -> Micros {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}
