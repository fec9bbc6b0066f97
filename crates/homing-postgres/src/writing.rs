//! Writes: forwarded, committed, and waited for.

pub(crate) mod raw;
pub(crate) mod writer;
