#![doc = include_str!("../README.md")]
//!
//! # Structure
//!
//! - [`Postgres`] is a server, a primary or a replica. A test starts, stops, kills, pauses and promotes
//!   it. It runs the programs of an installed PostgreSQL ([`Binaries`]).
//! - [`Patroni`] is a cluster of servers whose roles Patroni gives. A test kills the leader, cuts it off or
//!   changes it.
//! - [`CertificateAuthority`] issues certificates for servers and clients, for connections with TLS.
//! - [`Relay`] is a link to one server, with latency, jitter and cuts.
//! - [`DnsView`] is a DNS server. A test sets its records and how it answers.
//! - [`NodeCommand`] starts a node of the application, a [`NodeProcess`], and waits until it is ready.
//! - [`World`] combines all of these. A [`Link`] is the network between two of its regions.
//! - [`Scratch`] is the folder with the files of all of these.
//!
//! Each of them works without the others.
//!
//! # Guarantees
//!
//! - **Nothing is left behind.** Servers, processes and files go away when their handles are dropped,
//!   when a test panics, when the program ends without dropping them (as with a `static`), at Ctrl-C,
//!   and when the program is killed.
//! - **Tests do not disturb each other.** All ports are free ports of 127.0.0.1, and all files are in a
//!   new folder below [`std::env::temp_dir`], so many test programs may run at the same time. A port
//!   that is promised before a server listens on it, like those of a world's nodes, is reserved.
//! - **A change is in force when its call returns.** A cut link carries nothing, a paused replica
//!   replays nothing, a stopped server has ended.
//! - **Handles are independent of runtimes.** Relays and DNS servers run on a thread of this crate, and
//!   threads watch servers and nodes. One test may start a testbed and another one, with another async
//!   runtime, may use it.
//! - **Measurements are meaningful.** PostgreSQL waits for the disk as in production, unless
//!   [`Fsync::Off`] is set. The latency of a link is a lower bound, and exceeds it by at most about two
//!   milliseconds.
//!
//! Real processes take real time: none of this works under a paused tokio clock.
//!
//! # Features
//!
//! This crate has no features.

mod certificate;
mod error;
mod fuzzing;
mod network;
mod node;
mod patroni;
mod postgres;
mod process;
mod wait;
mod world;

pub use self::certificate::{Certificate, CertificateAuthority, CertificateFiles};
pub use self::error::{Error, Result};
#[doc(hidden)] // For the tests of Homing's own crates.
pub use self::fuzzing::fuzz;
pub use self::network::dns::DnsView;
pub use self::network::dns::records::DnsAnswers;
pub use self::network::link::{Link, Traffic};
pub use self::network::relay::{CallStage, Cut, Relay};
pub use self::node::{NodeCommand, NodeProcess};
pub use self::patroni::{Patroni, PatroniMember, PatroniOptions};
pub use self::postgres::binaries::Binaries;
pub use self::postgres::{Fsync, Postgres, PostgresOptions, Shutdown};
pub use self::process::log::LogFile;
pub use self::process::scratch::Scratch;
pub use self::wait::wait_until;
pub use self::world::{World, WorldBuilder};
