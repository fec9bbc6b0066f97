//! How many tests ran, summed over the test binaries of one `cargo test`.

use std::fmt::{self, Display};
use std::ops::AddAssign;

/// Counts of tests. Printed as `N passed, N failed, N skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Marked `#[ignore]`. A test that the filter left out is not counted.
    pub(crate) skipped: u64,
}

impl Totals {
    /// Returns the counts in a line of a test binary's output if that line ends a run:
    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut totals = Self::default();
        for part in counts.split("; ") {
            match part.trim_end().split_once(' ')? {
                (count, "passed") => totals.passed = count.parse().ok()?,
                (count, "failed") => totals.failed = count.parse().ok()?,
                (count, "ignored") => totals.skipped = count.parse().ok()?,
                _ => {}
            }
        }
        Some(totals)
    }

    /// Returns whether no test ran.
    pub(crate) fn is_empty(self) -> bool {
        self.passed + self.failed == 0
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_counted() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 4 filtered out; finished in 1.02s\n";
        assert_eq!(Totals::parse(line), Some(Totals { passed: 12, failed: 3, skipped: 2 }));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in [
            "",
            "running 3 tests",
            "test reads_are_local ... ok",
            "test result: ok",
            "test result: ok. many passed; 0 failed",
            "  test result: ok. 1 passed; 0 failed",
            "all doctests ran in 0.61s; merged doctests compilation took 0.51s",
        ] {
            assert_eq!(Totals::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn totals_are_summed_and_shown() {
        let mut totals = Totals::default();
        assert!(totals.is_empty());
        for _ in 0..2 {
            totals += Totals { passed: 2, failed: 0, skipped: 1 };
        }
        assert!(!totals.is_empty());
        assert_eq!(totals.to_string(), "4 passed, 0 failed, 2 skipped");
    }
}
