//! The measurements and results of a run, and how they are printed.

pub(crate) mod console;
pub(crate) mod findings;
pub(crate) mod samples;
pub(crate) mod table;
