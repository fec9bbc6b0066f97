//! One application in many regions against one PostgreSQL primary and its replicas.
//!
//! Reads are answered by the replica next door. Writes are forwarded to an instance of the same application in the
//! primary region, and the call returns when the replica here has replayed them. Code stays what it would be with a
//! single database:
//!
//! ```no_run
//! use homing::{Context, Entity, Insert, Node};
//!
//! #[derive(Debug, Entity)]
//! #[entity(table = "users")]
//! struct User {
//!     #[entity(key)]
//!     id: i64,
//!     name: String,
//!     age: i32,
//! }
//!
//! #[derive(Debug, Insert)] // the columns to write; the stored row comes back
//! #[insert(into = User)]
//! struct NewUser {
//!     name: String,
//!     age: i32,
//! }
//!
//! #[homing::remote] // a named function, runs in the primary region
//! async fn import(context: Context, names: Vec<String>) -> homing::Result<u64> {
//!     let users: Vec<_> = names.into_iter().map(|name| NewUser { name, age: 0 }).collect();
//!     Ok(context.repo().insert_all(&users).await?.len() as u64)
//! }
//!
//! #[tokio::main]
//! async fn main() -> homing::Result<()> {
//!     let node = Node::from_env()?.register(import).start().await?;
//!     let repo = node.repo();
//!
//!     let ada = repo.insert(&NewUser { name: "Ada".into(), age: 36 }).await?; // any region; returns a User
//!     let same = repo.get::<User>(ada.id).await?; // local replica; sees Ada
//!     let adults = repo.query("select id, name from users where age > $1", &[&18]).await?;
//!
//!     let names = vec!["Grace".to_owned(), "Edsger".to_owned()];
//!     let imported: u64 = repo.rpc_and_wait("import", &names).await?; // by name
//!     let imported = import::call(&repo, names).await?; // the same, typed
//!     node.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! With no region settings at all (a laptop, a unit test) the node is its own primary: nothing is forwarded, nothing
//! waits, no server is needed. The same program then runs on Fly.io, on Kubernetes, on plain machines.
//!
//! # Structure
//!
//! - [`Node`] is this process: its place among the regions, its database, its server for peers. [`Config`] lists all
//!   settings and the environment variables they come from.
//! - [`Repo`] is the handle that an application uses: entity calls, raw SQL, transactions, calls of named functions.
//! - [`Entity`], [`Insert`] and [`remote`] are the macros.
//!
//! # Guarantees
//!
//! - **Read your writes.** When a write returns `Ok` it is committed on the primary, and every later read through that
//!   handle sees it, or is answered by the primary: never a stale row, never a silent skip.
//! - **Known fate.** Every failed write says which it is: not sent, rejected, outcome unknown, or committed but not yet
//!   visible here. A timeout never hides a commit. See [`Error`].
//! - **No lost history.** A position of one timeline is never taken as reached on another because the numbers say so.
//! - **Idle is free.** No waiter, no query.
//! - **Nobody else.** No call is accepted without the credential, and a node without one serves loopback only.
//!
//! # Types
//!
//! A parameter is what implements [`ToSql`], a column what implements [`FromSql`]: the traits of `postgres-types`, whose
//! documentation lists the types. `Option` is a value that may be NULL, `Vec` an array. Enums, composites and domains
//! of the application's own derive both traits. The derive macros name the crate that they come from, so that one
//! has to be a dependency of the application: `postgres-types = { version = "0.2", features = ["derive"] }`.
//!
//! # Features
//!
//! None is on by default. Each adds to what there is and changes nothing of it.
//!
//! | feature | what it adds |
//! |---|---|
//! | `chrono` | `date`, `time`, `timestamp` and `timestamptz` as the types of chrono 0.4 |
//! | `jiff` | the same as the types of jiff 0.2 |
//! | `rust_decimal` | `numeric` as `rust_decimal::Decimal` 1 |
//! | `sea-query` | [`Repo`]'s calls with statements that sea-query 1 built, and the crate itself as `homing::sea_query` |
//! | `serde_json` | `json` and `jsonb` as `serde_json::Value` 1, or as any type of serde's in `postgres_types::Json` |
//! | `time` | the same as `chrono`, as the types of time 0.3 |
//! | `uuid` | `uuid` as `uuid::Uuid` 1 |
//!
//! Together with `sea-query`, the values of the others may be in its statements.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod connected;
mod context;
mod database_config;
mod node;
mod remote;

#[doc(hidden)]
pub mod __private;

pub use config::Config;
pub use context::Context;
pub use database_config::DatabaseConfig;
pub use homing_macros::{Entity, Insert, remote};
pub use homing_postgres::{
    Access, Aggregate, AnsweredBy, Batch, BatchResults, Choose, Column, Conflict, Consistency, Database, DatabaseError,
    Entity, EntityStream, Error, Fate, FromSql, Health, Insert, Isolation, Lsn, Measure, OnLag, Options, Parameter,
    Position, ReadFigures, ReadRow, ReadTable, Replica, ReplicaList, ReplicaSettings, ReplicaStatus, Replicas, Repo,
    Report, Result, Role, Row, RowIndex, RowStream, SqlState, Stages, Step, ToSql, Token, TransactionOptions, Type,
    Wait, WeakRepo, params,
};
#[cfg(feature = "sea-query")]
pub use homing_postgres::{Begin, Built, sea_query};
pub use homing_rpc::{PeerName, Region, Rpc, Secret, Topology, TraceContext};
pub use node::{Builder, Node};
pub use remote::Remote;
