//! A call of a handle: its options, its report, and whether it wrote.

pub(crate) mod options;
pub(crate) mod report;
pub(crate) mod tally;
