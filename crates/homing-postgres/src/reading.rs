//! Reads from a replica or from the primary.
//!
//! [`ReadPlan`](plan::ReadPlan) decides the next step of a read, and [`Reader`](reader::Reader) carries it out. A
//! [`ReadRequest`](reader::ReadRequest) reads the rows of a statement or opens a stream of them.

pub(crate) mod chosen;
pub(crate) mod copy;
pub(crate) mod floor;
pub(crate) mod held;
pub(crate) mod on_primary;
pub(crate) mod opening;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod rows;
pub(crate) mod server;
pub(crate) mod stream;
