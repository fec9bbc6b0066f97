//! What stands for the network: relays for its links, DNS servers for its names.

pub(crate) mod dns;
pub(crate) mod link;
pub(crate) mod port;
pub(crate) mod relay;
pub(crate) mod thread;
