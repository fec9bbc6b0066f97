//! [`Tally`], whether the calls of a function have written.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the calls that are made through the handles of one function, and those that wrote nothing.
#[derive(Debug, Default)]
pub struct Tally {
    begun: AtomicUsize,
    unchanged: AtomicUsize,
}

impl Tally {
    /// Returns whether calls were made, and all of them have ended and wrote nothing. A call that was dropped may have
    /// written. A function that made no call may have written in another way.
    pub fn is_unchanged(&self) -> bool {
        let begun = self.begun.load(Ordering::SeqCst);
        begun > 0 && begun == self.unchanged.load(Ordering::SeqCst)
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end_unchanged(&self) {
        self.unchanged.fetch_add(1, Ordering::SeqCst);
    }
}
