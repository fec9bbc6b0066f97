//! Nodes in two regions against a real primary and a real streaming replica.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
mod fixture;
mod nodes;
mod sessions;
mod transactions;
