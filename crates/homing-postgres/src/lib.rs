#![doc = include_str!("../README.md")]
//!
//! # Structure
//!
//! | name | what it is |
//! |---|---|
//! | [`Repo`] | the handle of an application: entity calls, raw SQL, transactions, batches, streams, named functions |
//! | [`Batch`] | several writes that build on each other, in one round trip |
//! | [`RowStream`] | a read of any size |
//! | [`Database`] | the server next to this node: its address, its pool, its [`Tracker`], and the executor that runs the statements of peers |
//! | [`Databases`] | the databases of a node by name, which its peers may use |
//! | [`Replicas`] | the servers that a node reads from: a [`ReplicaList`] that may change at run time, a choice among those that are up and not too far behind ([`Choose`]), one by name ([`Repo::replica`]), and the figures of each ([`Repo::measure_reads`]) |
//! | [`Tracker`] | knows how far one server is, and wakes the calls that wait for a [`Position`] |
//! | [`Error`] | why a call failed, and the fate of its writes |
//!
//! # Guarantees
//!
//! - **Read your writes.** When a write returns `Ok`, it is committed on the primary. Every later read through that handle
//!   or a clone of it sees the write. If the local replica is too far behind, the primary answers the read.
//! - **Known fate.** The error of a failed write says which of four things happened: it was not sent, it was rejected, it is
//!   committed, or its outcome is unknown. See [`Error`].
//! - **No lost history.** A position of one timeline never counts as reached on another one because the numbers say so.
//! - **Idle is free.** A [`Tracker`] sends a query only while calls wait. A node probes its [`Replicas`] only after reads.
//! - **Staleness.** A read that follows nothing in its session may be as old as the replica is. A read that follows a write
//!   or another read is not older than that one. [`Consistency`] asks for more or less, and a [`Token`] takes the session
//!   to another node. A replica whose lag is known to exceed [`ReplicaSettings::max_lag`] is left out, unless it is asked
//!   for by name or the primary cannot be reached.
//! - **Separate tenants.** A handle for a schema never runs a statement in another schema, and a handle with a setting
//!   ([`Repo::with_setting`]) never runs a statement without it. They leave nothing behind on a pooled connection.
//! - **Transactions** ([`Repo::transaction`]) are committed as a whole or not at all. If the caller, its node or the network
//!   fails, an uncommitted transaction is rolled back. It holds no lock beyond its idle timeout.
//! - **Exactly once.** A write is applied once, however often the network, a node or the database fails under it: see
//!   [`Delivery`], [`Repo::with_key`] and [`Repo::outcome`].
//!
//! # Features
//!
//! No feature is on by default. A feature only adds to the interface.
//!
//! | feature | what it adds |
//! |---|---|
//! | `anyhow` | `?` on the errors of anyhow, in named functions and transactions |
//! | `chrono`, `jiff`, `time` | dates and times as types of these crates |
//! | `rust_decimal` | `numeric` as `rust_decimal::Decimal` |
//! | `serde_json` | `json` and `jsonb` as `serde_json::Value` |
//! | `uuid` | `uuid` as `uuid::Uuid` |
//! | `sea-query` | calls that take statements built by sea-query |
//!
//! # Known limits
//!
//! - A node that only reads does not notice if its only replica is cut off from the primary. The first read after a quiet
//!   time uses the lag that was known before it.
//! - A replica that crashed and came back with less than it had replayed can be older than an earlier read.
//! - All primaries of a node's databases are in one region.
//!
//! [`Tracker`](Tracker#known-limits), [`Database`](Database#known-limits) and [`Error`](Error#known-limits) list their own.

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
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod outcome;
mod position;
mod primary;
mod reading;
mod replicas;
mod repo;
mod scope;
mod session;
#[cfg(test)]
mod simulation;
mod statement;
#[cfg(test)]
mod testing;
mod tracker;
mod transaction;
mod writing;

pub use batch::plan::Batch;
pub use batch::results::BatchResults;
pub use batch::step::{Parameter, Step};
pub use call::options::{Consistency, Delivery, OnLag, Options, Wait};
pub use call::report::{AnsweredBy, Report, Stages};
#[doc(hidden)]
pub use call::tally::Tally;
pub use connection::login::Login;
pub use database::{Config, Database};
pub use databases::Databases;
pub use entity::aggregate::Aggregate;
#[cfg(feature = "sea-query")]
pub use entity::built::{Begin, Built};
pub use entity::conflict::Conflict;
pub use entity::update::Update;
pub use entity::{Entity, FromRow, Insert};
pub use error::database::DatabaseError;
pub use error::fate::Fate;
pub use error::{Error, Result};
pub use outcome::key::IdempotencyKey;
pub use outcome::{Outcome, migration_sql};
pub use position::kind::PositionKind;
pub use position::lsn::{Lsn, ParseLsnError};
pub use position::role::Role;
pub use position::state::{Ancestor, ServerState, Verdict};
pub use position::transaction_id::TransactionId;
pub use position::{Position, SystemIdentifier, Timeline};
pub use reading::copy::CopyOut;
pub use reading::rows::RowStream;
pub use replicas::{Choose, Health, Replica, ReplicaList, ReplicaSettings, ReplicaStatus, Replicas};
pub use repo::measure::table::{Measure, ReadFigures, ReadRow, ReadTable};
#[doc(hidden)]
pub use repo::transaction::RanOnce;
pub use repo::{Repo, WeakRepo};
#[doc(hidden)]
pub use scope::check_database_name;
#[cfg(feature = "sea-query")]
pub use sea_query;
pub use session::token::Token;
pub use statement::columns::Column;
#[doc(hidden)]
pub use statement::fields::Fields;
pub use statement::row::{Row, RowIndex};
pub use tokio_postgres::error::SqlState;
pub use tokio_postgres::types::{FromSql, ToSql, Type};
pub use tracker::Tracker;
pub use tracker::error::{Unavailable, WaitError};
pub use transaction::{Access, Isolation, TransactionOptions};
pub use writing::copy::CopyIn;
