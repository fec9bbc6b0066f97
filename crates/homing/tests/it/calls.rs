//! The calls of a handle, in the primary region and in another one.

mod batch;
mod built;
mod changes;
mod copy;
mod dropped;
mod entities;
mod entity_types;
mod errors;
mod memory;
mod migrations;
mod placement;
mod properties;
mod raw;
mod reports;
mod settings;
mod statements;
mod stream;
mod tenants;
mod triggers;
mod typed;
mod types;
mod writes;
