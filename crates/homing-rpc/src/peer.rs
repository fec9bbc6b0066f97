//! The peers of a region: their connections, the choice of a peer for a request, and the fate of that request.

pub(crate) mod backoff;
pub(crate) mod budget;
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod fate;
pub(crate) mod load;
pub(crate) mod look_up;
pub(crate) mod monitor;
pub(crate) mod name;
pub(crate) mod pick;
pub(crate) mod queue;
pub(crate) mod rotation;
pub(crate) mod schedule;
pub(crate) mod set;
pub(crate) mod settings;
pub(crate) mod status;
