//! The crate from outside, with servers in this process.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod arbitrary;
mod call;
mod discover;
mod dns;
mod failure;
mod guard;
mod handshake;
mod headers;
mod keys;
mod lines;
mod panics;
mod peers;
mod service;
mod settings;
mod shutdown;
mod strangers;
mod tls;
mod world;
