//! The tracker against real servers.

mod failover;
mod idle;
mod pair;
mod waiting;
