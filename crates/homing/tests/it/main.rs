//! Nodes in two regions against a real primary and a real streaming replica.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod built;
mod configuration;
mod databases;
mod entities;
mod entity_types;
mod errors;
mod fixture;
mod functions;
mod lag;
mod local;
mod memory;
mod peers;
mod positions;
mod properties;
mod raw;
mod replicas;
mod reports;
mod sessions;
mod stream;
mod tenants;
mod tokens;
mod transactions;
mod transactions_calls;
mod transactions_lost;
mod transactions_read_only;
mod transactions_round_trips;
mod types;
mod wire;
mod writes;
