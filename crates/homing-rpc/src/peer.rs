//! The peers: which addresses are connected, which of them gets the next request, and what became of it.

pub(crate) mod backoff;
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod fate;
pub(crate) mod load;
pub(crate) mod monitor;
pub(crate) mod name;
pub(crate) mod pick;
pub(crate) mod set;
