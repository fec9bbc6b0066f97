//! Nodes in two regions against a real primary and a real streaming replica.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod configuration;
mod errors;
mod fixture;
mod lag;
mod local;
mod memory;
mod peers;
mod positions;
mod raw;
mod stream;
mod types;
mod wire;
mod writes;
