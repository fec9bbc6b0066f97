//! A call of a handle: its options and its report.

pub(crate) mod options;
pub(crate) mod report;
