//! Nodes in two regions against a real primary and a real streaming replica.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod configuration;
mod databases;
mod errors;
mod fixture;
mod functions;
mod lag;
mod local;
mod peers;
mod positions;
mod raw;
mod types;
mod writes;
