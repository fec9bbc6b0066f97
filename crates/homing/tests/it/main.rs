//! Nodes in two regions against a real primary and a real streaming replica.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod built;
mod configuration;
mod entities;
mod entity_types;
mod errors;
mod fixture;
mod lag;
mod local;
mod peers;
mod positions;
mod properties;
mod raw;
mod types;
mod writes;
