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
//! - [`Repo`] is the handle of an application: entity calls, raw SQL, calls of named functions.
//! - [`Database`] is the server next to this node: its address, its pool, its [`Tracker`], and the executor that runs
//!   what peers forward to it.
//! - [`Tracker`] follows how far that server has replayed and wakes those who wait for a [`Position`].
//!
//! # Guarantees
//!
//! - **Read your writes.** When a write returns `Ok` it is committed on the primary, and every later read through that
//!   handle or a clone of it sees it, or is answered by the primary.
//! - **Known fate.** A failed write says whether it was not sent, rejected, committed, or whether nobody knows. See
//!   [`Error`].
//! - **No lost history.** A position of one timeline is never taken as reached on another because the numbers say so.
//! - **Idle is free.** While nobody waits, the tracker asks nothing.
//! - **Staleness.** A read that follows no write of its session may be as old as the replica is; a read that follows
//!   one is not older than that write.
//!
//! A write is sent once. If the answer is lost its outcome is unknown, and the error says so; it is repeated on another
//! peer only where the first one certainly did not execute it.

mod address;
mod database;
mod database_error;
mod databases;
mod entity;
mod entity_sql;
mod error;
mod executor;
mod failure;
mod home;
mod in_schema;
mod lsn;
mod options;
mod pool;
mod position;
mod repo;
mod report;
mod role;
mod row;
mod scope;
mod service;
mod session;
mod shape;
mod sql;
mod state;
mod token;
mod tracker;
mod types;
mod values;

pub use database::{Config, Database};
pub use database_error::DatabaseError;
pub use databases::Databases;
pub use entity::{Entity, Insert};
pub use error::{Error, Result};
pub use lsn::{Lsn, ParseLsnError};
pub use options::{Consistency, OnLag, Options, Wait};
pub use position::{InvalidPosition, Position, SystemIdentifier, Timeline};
pub use repo::{Repo, WeakRepo};
pub use report::{AnsweredBy, Report, Stages};
pub use role::Role;
pub use row::{Column, Row, RowIndex};
#[doc(hidden)]
pub use scope::check_database_name;
pub use state::{Ancestor, ServerState, Verdict};
pub use token::Token;
pub use tokio_postgres::error::SqlState;
pub use tokio_postgres::types::{FromSql, ToSql, Type};
pub use tracker::{Tracker, Unavailable, WaitError};
