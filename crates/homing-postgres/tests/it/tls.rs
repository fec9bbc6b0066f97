//! Connections to PostgreSQL with TLS.

mod authentication;
mod certificates;
mod client;
mod middle;
mod modes;
mod recorder;
mod renewal;
mod replica;
pub(crate) mod server;
mod silence;
