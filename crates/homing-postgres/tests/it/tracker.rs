//! The tracker against real servers.

mod failover;
mod idle;
pub(crate) mod pair;
mod transactions;
mod waiting;
