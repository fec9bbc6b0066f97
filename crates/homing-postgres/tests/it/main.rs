//! Tests against real PostgreSQL servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ahead;
mod limits;
mod monotonic;
mod passwords;
mod poolers;
mod replicas;
mod servers;
mod tls;
mod tokens;
mod tracker;
