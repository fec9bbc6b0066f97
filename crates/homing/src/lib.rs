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
//! - [`Repo`] is the handle that an application uses: entity calls, raw SQL, calls of named functions.
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
    AnsweredBy, Column, Consistency, Database, DatabaseError, Entity, Error, FromSql, Insert, Lsn, OnLag, Options,
    Position, Repo, Report, Result, Role, Row, RowIndex, SqlState, Stages, ToSql, Token, Type, Wait, WeakRepo,
};
pub use homing_rpc::{PeerName, Region, Rpc, Secret, Topology, TraceContext};
pub use node::{Builder, Node};
pub use remote::Remote;
