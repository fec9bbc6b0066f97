//! What a run measures, finds out and prints.

pub(crate) mod console;
pub(crate) mod findings;
pub(crate) mod samples;
pub(crate) mod table;
