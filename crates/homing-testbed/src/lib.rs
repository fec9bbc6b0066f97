//! A whole multi-region world on one machine: PostgreSQL, replication, DNS, WAN links, nodes.
//!
//! Everything here is real: servers are PostgreSQL's own programs, replicas stream from their
//! primaries, names are asked of a DNS server, nodes are processes. Only the distance between
//! regions is made, by relays in user space that any system can run. It is what Homing's own tests
//! and its demo run on, and is meant for tests of applications as much.
//!
//! ```no_run
//! use std::time::Duration;
//! use homing_testbed::{Cut, Traffic, World};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let world = World::builder()
//!     .primary("iad")
//!     .region("syd", Duration::from_millis(200))
//!     .schema("create table users (id bigserial primary key, name text)")
//!     .start()
//!     .await?;
//!
//! // A node of the application, in this process: these settings are all it needs.
//! let settings = world.environment("syd");
//! assert_eq!(settings["HOMING_REGION"], "syd");
//!
//! // What it does when its replica hears nothing of the primary any more.
//! world.link("syd").only(Traffic::Replication).cut(Cut::Blackhole).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Structure
//!
//! - [`Postgres`] is a server, primary or replica, to be started, stopped, killed, paused and
//!   promoted. It runs the programs of an installed PostgreSQL ([`Binaries`]), also when the tests
//!   run as root.
//! - [`Relay`] is a link to one server, with latency, jitter and cuts.
//! - [`DnsView`] is a DNS server whose records and manners can be changed.
//! - [`NodeCommand`] starts a process that says when it is ready, a [`NodeProcess`].
//! - [`World`] puts them together; a [`Link`] is all there is between two of its regions.
//! - [`Scratch`] is the folder that all of these keep their files in.
//!
//! Each can be used without the others.
//!
//! # Guarantees
//!
//! - **Nothing is left.** Servers, processes and files go away when their handles are dropped, when
//!   a test panics, when the program ends without dropping them (as with a `static`), at Ctrl-C,
//!   and when the program is killed.
//! - **Nobody is disturbed.** All ports are free ones on 127.0.0.1, all files are below a new
//!   folder in [`std::env::temp_dir`], and many test programs may run at the same time. Where an
//!   address is promised before anyone listens on it, as for the nodes of a world, it is kept.
//! - **Changes are in force** when the call that makes them returns: a cut link carries nothing, a
//!   paused replica replays nothing, a stopped server has ended.
//! - **Handles are free of runtimes.** Relays and DNS servers run on a thread of this crate, servers
//!   and nodes are watched by threads: a testbed may be started in one test and used in another,
//!   with another async runtime.
//! - **Figures mean something.** PostgreSQL waits for the disk as in production unless told
//!   otherwise, and a link's latency is a lower bound that is kept to about two milliseconds.
//!
//! Real processes take real time: none of this works under a paused tokio clock.
//!
//! # Features
//!
//! None. Linux and macOS are supported, PostgreSQL 14 and later.

mod error;
mod network;
mod node;
mod postgres;
mod process;
mod wait;
mod world;

pub use self::{
    error::{Error, Result},
    network::{
        dns::{DnsAnswers, DnsView},
        link::{Link, Traffic},
        relay::{Cut, Relay},
    },
    node::{NodeCommand, NodeProcess},
    postgres::{Fsync, Postgres, PostgresOptions, Shutdown, binaries::Binaries},
    process::{log::LogFile, scratch::Scratch},
    wait::wait_until,
    world::{World, WorldBuilder},
};
