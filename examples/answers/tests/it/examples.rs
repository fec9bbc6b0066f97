//! The examples themselves.

#![expect(dead_code, reason = "their main functions run in programs of their own")]
#![expect(unreachable_pub, reason = "they are written as programs")]

#[path = "../../examples/axum_handler.rs"]
pub(crate) mod axum_handler;
#[path = "../../examples/batch.rs"]
pub(crate) mod batch;
#[path = "../../examples/consistency.rs"]
pub(crate) mod consistency;
#[path = "../../examples/databases.rs"]
pub(crate) mod databases;
#[path = "../../examples/fates.rs"]
pub(crate) mod fates;
#[path = "../../examples/job_token.rs"]
pub(crate) mod job_token;
#[path = "../../examples/lost_updates.rs"]
pub(crate) mod lost_updates;
#[path = "../../examples/named_replica.rs"]
pub(crate) mod named_replica;
#[path = "../../examples/sea_query.rs"]
pub(crate) mod sea_query;
#[path = "../../examples/static_peers.rs"]
pub(crate) mod static_peers;
#[path = "../../examples/tenant.rs"]
pub(crate) mod tenant;
#[path = "../../examples/transaction.rs"]
pub(crate) mod transaction;
