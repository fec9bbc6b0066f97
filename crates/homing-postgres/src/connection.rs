//! A connection to one server: its address, its pool, a transaction block on it.

pub(crate) mod abilities;
pub(crate) mod address;
pub(crate) mod block;
mod connector;
pub(crate) mod identity;
mod isolation;
pub(crate) mod known;
pub(crate) mod login;
pub(crate) mod open;
mod parameters;
mod passfile;
pub(crate) mod pool;
pub(crate) mod session_attrs;
pub(crate) mod set;
pub(crate) mod source;
pub(crate) mod statements;
pub(crate) mod string;
mod taken;
mod tls;
