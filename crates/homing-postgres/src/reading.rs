//! Reads, by whichever server may answer them.
//!
//! [`ReadPlan`](plan::ReadPlan) decides what a read does next, [`Reader`](reader::Reader) does it. What is read is a
//! [`ReadRequest`](reader::ReadRequest): the rows of a statement, or a stream of them.

pub(crate) mod floor;
pub(crate) mod on_primary;
pub(crate) mod plan;
pub(crate) mod query;
pub(crate) mod reader;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod stream;
