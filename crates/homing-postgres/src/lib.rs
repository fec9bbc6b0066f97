//! Positions, tracker, replicas and Repo: reads from the replica next door, writes to the primary.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use homing_postgres::{Config, Database, Options, Repo, Role};
//! use homing_rpc::{Rpc, StaticPeers, Topology};
//!
//! # async fn example(topology: Topology, rpc: Rpc) -> homing_postgres::Result<()> {
//! let url = "postgres://app@127.0.0.1:5433/app";
//! let replica = Database::connect(Config::new(url, Role::Replica)).await?;
//! let repo = Repo::new(rpc, Some(replica), Options::default());
//!
//! let rows = repo.query("select name from users where id = $1", &[&7_i64]).await?; // the replica here
//! repo.execute("update users set age = age + 1 where id = $1", &[&7_i64]).await?; // the primary, and back
//! # Ok(())
//! # }
//! ```
//!
//! Most applications use this crate through `homing`, whose `Node` sets all of it up from the environment.
//!
//! # Structure
//!
//! - [`Repo`] is the handle of an application: entity calls, raw SQL, transactions, batches, streams, named functions.
//! - [`Databases`] are those of a node, by name, for its peers to use.
//! - [`Batch`] is several writes that build on each other in one round trip; [`RowStream`] is a read of any size.
//! - [`Database`] is the server next to this node: its address, its pool, its [`Tracker`], and the executor that runs
//!   what peers forward to it.
//! - [`Replicas`] is the set of databases that a node reads from: a [`ReplicaList`] that may change while it runs, a
//!   choice among those that are up and not too far behind ([`Choose`]), one by name ([`Repo::replica`]), and the
//!   figures of each ([`Repo::measure_reads`]).
//! - [`Tracker`] follows how far that server has replayed and wakes those who wait for a [`Position`].
//!
//! # Guarantees
//!
//! - **Read your writes.** When a write returns `Ok` it is committed on the primary, and every later read through that
//!   handle or a clone of it sees it, or is answered by the primary.
//! - **Known fate.** A failed write says whether it was not sent, rejected, committed, or whether nobody knows. See
//!   [`Error`].
//! - **No lost history.** A position of one timeline is never taken as reached on another because the numbers say so.
//! - **Idle is free.** While nobody waits, the tracker asks nothing; while no reads are made, no replica is asked how far
//!   behind it is.
//! - **Staleness.** A read that follows nothing in its session may be as old as the replica is; a read that follows a
//!   write or another read is not older than that. [`Consistency`] asks for more or less, and a [`Token`] takes it to
//!   another node. A replica that is known to be further behind than [`ReplicaSettings::max_lag`] is not read from, unless
//!   it is asked for by name or the primary cannot be reached.
//! - **Tenants apart.** A handle for a schema never runs a statement in another one, and leaves nothing behind on a
//!   pooled connection.
//! - **Transactions** ([`Repo::transaction`]) are committed as a whole or not at all. Whatever becomes of their caller, its
//!   node or the network, what was not committed is rolled back, and holds no lock beyond the idle timeout.
//!
//! A write is sent once. If the answer is lost its outcome is unknown, and the error says so; it is repeated on another
//! peer only where the first one certainly did not execute it.
//!
//! # Features
//!
//! `chrono`, `jiff`, `rust_decimal`, `serde_json`, `time` and `uuid` add the types of these crates to those of parameters
//! and columns, `sea-query` the calls with statements that it built. The documentation of `homing` has the table.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod batch;
mod call;
mod connection;
mod database;
mod databases;
mod engine;
mod entity;
mod error;
mod executor;
mod position;
mod primary;
mod reading;
mod replicas;
mod repo;
mod scope;
mod session;
mod statement;
mod tracker;
mod transaction;
mod writing;

pub use batch::plan::Batch;
pub use batch::results::BatchResults;
pub use batch::step::{Parameter, Step};
pub use call::options::{Consistency, OnLag, Options, Wait};
pub use call::report::{AnsweredBy, Report, Stages};
pub use database::{Config, Database};
pub use databases::Databases;
pub use entity::aggregate::Aggregate;
#[cfg(feature = "sea-query")]
pub use entity::built::{Begin, Built};
pub use entity::conflict::Conflict;
pub use entity::{Entity, Insert};
pub use error::database::DatabaseError;
pub use error::fate::Fate;
pub use error::{Error, Result};
pub use position::lsn::{Lsn, ParseLsnError};
pub use position::role::Role;
pub use position::state::{Ancestor, ServerState, Verdict};
pub use position::{InvalidPosition, Position, SystemIdentifier, Timeline};
pub use reading::rows::{EntityStream, RowStream};
pub use replicas::{Choose, Health, Replica, ReplicaList, ReplicaSettings, ReplicaStatus, Replicas};
pub use repo::measure::table::{Measure, ReadFigures, ReadRow, ReadTable};
pub use repo::{Repo, WeakRepo};
#[doc(hidden)]
pub use scope::check_database_name;
#[cfg(feature = "sea-query")]
pub use sea_query;
pub use session::token::Token;
pub use statement::row::{Column, Row, RowIndex};
pub use tokio_postgres::error::SqlState;
pub use tokio_postgres::types::{FromSql, ToSql, Type};
pub use tracker::Tracker;
pub use tracker::error::{Unavailable, WaitError};
pub use transaction::{Access, Isolation, TransactionOptions};
