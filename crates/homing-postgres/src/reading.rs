//! Reads, by whichever server may answer them.

pub(crate) mod rows;
