//! The layer in front of nodes in three regions, against a real primary and real streaming replicas.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;
mod health;
#[cfg(feature = "prometheus")]
mod metrics;
mod replay;
mod sessions;
mod streams;
mod tokens;
