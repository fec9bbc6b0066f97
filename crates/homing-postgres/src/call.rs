//! A call of a handle: what may be set for it, and how it went.

pub(crate) mod options;
pub(crate) mod report;
