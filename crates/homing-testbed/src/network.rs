//! The network: relays are its links, DNS servers have its names.

pub(crate) mod dns;
pub(crate) mod link;
pub(crate) mod port;
pub(crate) mod relay;
pub(crate) mod thread;
