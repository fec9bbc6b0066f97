//! The tracker against real servers.

mod failover;
mod idle;
mod pair;
mod transactions;
mod waiting;
