//! Writes: statements that run on the primary, and the wait until the local replica shows them.

pub(crate) mod copy;
pub(crate) mod rows;
pub(crate) mod writer;
