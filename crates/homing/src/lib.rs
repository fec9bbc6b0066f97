#![doc = include_str!("../README.md")]
//!
//! # Guarantees
//!
//! - **Read your writes.** When a write returns `Ok`, it is committed on the primary, and every later read in the same
//!   session sees it. If the local replica is too far behind, the primary answers the read.
//! - **Known fate.** Every failed write says which of four things happened: *not sent*, *rejected*, *outcome unknown*,
//!   or *committed* but not visible here yet. No time limit hides a commit. See [`Error`].
//! - **No lost history.** A position of one timeline never counts as reached on another one because the numbers say so. A
//!   session that has seen a later timeline than a server is refused there, and what a failover lost is an error.
//! - **Idle is free.** Without calls, Homing sends a server no query. The table [below](#queries-of-homing) says what is asked
//!   when.
//! - **Peers only.** A node takes calls only on a connection whose ends have proved to each other that they have the
//!   credential, which is never sent, or certificates ([`Tls`](rpc::Tls)). A node with neither serves loopback addresses only.
//!
//! # Types
//!
//! A parameter is a value that implements [`ToSql`](types::ToSql), a column one that implements
//! [`FromSql`](types::FromSql). These are the traits of `postgres-types`, whose documentation lists the types. `Option`
//! stands for a value that may be NULL, `Vec` for an array. For enums, composites and domains of your own, derive both
//! traits. The derive macros refer to the crate `postgres-types`, so your application needs it as a dependency:
//! `postgres-types = { version = "0.2", features = ["derive"] }`.
//!
//! # Features
//!
//! No feature is on by default. A feature only adds to the interface.
//!
//! | feature | what it adds |
//! |---|---|
//! | `anyhow` | `?` on the errors of anyhow 1, in named functions and transactions |
//! | `chrono` | `date`, `time`, `timestamp` and `timestamptz` as the types of chrono 0.4 |
//! | `jiff` | the same as the types of jiff 0.2 |
//! | `rust_decimal` | `numeric` as `rust_decimal::Decimal` 1 |
//! | `sea-query` | calls of [`Repo`] that take statements built by sea-query 1, the module `built`, and the crate itself as `homing::sea_query` |
//! | `serde_json` | `json` and `jsonb` as `serde_json::Value` 1, or as any serde type in `postgres_types::Json` |
//! | `time` | the same as `chrono`, as the types of time 0.3 |
//! | `uuid` | `uuid` as `uuid::Uuid` 1 |
//!
//! Statements of `sea-query` may hold values of the types that the other features add.
//!
//! # Known limits
//!
//! **Security**
//!
//! - Between nodes there is no TLS without certificates (`HOMING_TLS_CERT`). The secret is never sent, but the data travel in
//!   clear text, and an attacker on their way can change them: use a private network.
//! - A peer that has the secret may run any SQL that the node's database role may run. [`Config::functions_only`] and
//!   [`Config::forwarded_login`] limit that. Give the role no more than it needs in any case.
//! - The forwarded user is compared with the node's own at the start only, and next to the primary.
//!
//! **Writes**
//!
//! - Scripts, COPY, functions that are not transactional, and statements that PostgreSQL does not run in a transaction are sent at
//!   most once. So is every write if the database has no table of outcomes ([`migration_sql`]).
//! - A write that an asynchronous primary had acknowledged and not shipped when it died is lost: no read shows it then, and
//!   [`Repo::outcome`] says so.
//! - A write whose future is dropped is reported to no observer, whatever its outcome.
//! - A script or procedure with transaction commands of its own can be *rejected* after parts of it were committed.
//! - Code that sets `synchronous_commit = off` by itself (a database function, a script of its own) commits before the flush:
//!   the position that Homing reads may be older than its commit.
//! - If raw SQL has an effect without a transaction id (notifications, foreign tables, other servers), Homing takes it for
//!   a read. If its result cannot be delivered, the error says *rejected*.
//! - SQL that a replica has run counts as a read from then on. If it is sent to the primary because no replica can answer, its
//!   answer is lost, and it writes with other values by a function in C (`case when $1 then nextval('s') end`), it may run twice.
//! - If SQL of your own reads entities next to the primary and calls a function that writes, the session does not wait
//!   for that write elsewhere. Use raw SQL for it.
//! - SQL of your own does not count the version of an entity (`#[entity(version)]`), unless it says so: add
//!   `version = version + 1`, or leave that to a trigger for all updates.
//! - In a schema ([`Repo::with_schema`]) or with a setting ([`Repo::with_setting`]), statements that PostgreSQL refuses
//!   inside a transaction fail (`VACUUM`, procedures that commit).
//! - A handle cannot set PostgreSQL's settings that change the meaning of a statement's text, such as `TimeZone`: use
//!   `at time zone`, or set them for the role.
//! - A copy ([`Repo::copy_in`]) cannot be part of a larger transaction. PostgreSQL reports an invalid row when the copy is
//!   finished.
//! - The statements of a batch run one after the other on the primary: 10,000 steps take some seconds.
//! - A function whose caller has gone may run on until its deadline.
//!
//! **Transactions**
//!
//! - If a node in the primary region hangs without closing its connections, PostgreSQL rolls its open transactions back after a
//!   second (`idle_in_transaction_session_timeout`, which Homing sets for them). A copy that is under way stays open.
//! - Interactive transactions and streams count for the choice of a peer only while they are being opened. A peer that
//!   falls silent under them, without closing the connection, is noticed after six seconds, not within one.
//! - A node has at most 256 interactive transactions and streams open through one peer; further ones wait.
//!
//! **Reads**
//!
//! - PostgreSQL ships and replays the log of a commit before it ends the transaction on the primary; with synchronous replication
//!   this takes a round trip, or as long as the synchronous replica is away. A session that has read such a commit from a replica
//!   waits until the primary shows it: a read, or a transaction's first statement, fails as *not sent* if that takes longer than
//!   [`Options::call_timeout`]. These do not wait: a write that writes something, a copy in, and a named function run on what the
//!   primary shows. Nor is it noticed if the replica has restarted or is gone since; if the read was a stream, a copy or a
//!   transaction through an address that leads to several servers; and after a token, as long as no replica of the node has
//!   reached its positions.
//! - Homing measures lag against the newest position that it knows. A node that only reads, and whose only replica is
//!   cut off from the primary, does not notice that the replica falls behind. The first read after a quiet time uses
//!   what was known before it.
//! - A replica that crashed and came back with less than it had replayed can be older than an earlier read.
//! - With [`Choose::Random`](replicas::Choose::Random) or [`Choose::LeastLag`](replicas::Choose::LeastLag), a session
//!   that changes from one replica to another asks the former one for its position, at each change.
//! - A replica that hangs without closing its connections costs time limits: a read on an open connection fails after
//!   [`Options::call_timeout`], and later reads wait that long before the primary answers them.
//! - A call that only notifies or uses a foreign table has no transaction id, so it counts as one that wrote nothing. A call
//!   that only takes a number of a sequence may count as a write.
//! - While another session keeps a transaction with many writes open, a read waits for a later commit if its session wrote
//!   twice at the same time, or if it changes between replicas right after a write.
//! - A named function is asked for the positions of its databases even if it runs next to its caller.
//! - After a named function, the next read in each other database of the node waits for the replica, whether or not the
//!   function wrote there.
//!
//! **Servers**
//!
//! - The settings name one primary region for all databases of a node. If a primary is found in another region, that is
//!   remembered for its database until the node restarts or misses the primary again.
//! - Connect nodes to PostgreSQL directly, or through a pooler in session mode. Behind pgbouncer in transaction or statement
//!   mode, or behind a load balancer that spreads connections over several servers, a position says nothing about the next
//!   connection. Homing refuses such an address: see [`Config`]. Replicas may be behind a load balancer if positions are
//!   [by transaction](crate::position::PositionKind::Transaction). Homing does not notice a proxy that sends the statements
//!   of one connection to several servers, as Pgpool-II does.
//! - Homing does not fence. A node whose own database is a primary writes there, whatever the other regions say, unless
//!   the session has seen a later timeline.
//! - After a failover, sessions and tokens of the earlier timeline fail once if it cannot be shown that the promoted server
//!   has what they saw: see [`Error::is_history_lost`].
//! - A node learns the role of a server when it opens a connection, while it follows replay, and when it misses the
//!   primary. Until then it routes statements by the old role of a promoted server. While it misses the primary, it asks
//!   its servers at most once a second, and only while calls need them.
//! - A node beside a primary that hangs without closing its connections notices it when a new connection fails, after
//!   three seconds, or when a statement does not react to its cancellation.
//! - The catalog is asked once for each statement whether it calls a volatile function. If a function is replaced by a
//!   volatile one later, nodes that know its statements go on to run them on their replicas. Functions behind operators,
//!   casts and other functions are not looked up.
//! - A role without `pg_monitor` learns of a timeline switch late, and if nothing else shows it (a cascading replica
//!   whose upstream is promoted), not before the next restart point.
//! - A type that is altered in place (`alter type … add value`) keeps its OID. Connections use the old definition until
//!   a statement turns out to be stale or the node restarts.
//! - Homing recognizes statements by their words, not by their meaning. If a function or a `do` block changes the state
//!   of its session, the pooled connection keeps that state.
//! - A region that was called once is watched, with a connection to each of its peers, until the node shuts down. A node
//!   that looks for the primary calls all regions.
//!
//! # Queries of Homing
//!
//! Besides the statements of the application, PostgreSQL gets these queries, and no others:
//!
//! | of | asked for | when |
//! |---|---|---|
//! | primary | the transaction's id, and the position | with each forwarded call, in the same round trip |
//! | primary | the transaction's id | with each raw statement of a local caller, in the same round trip |
//! | primary | its position | after a named function; once when the session of a local caller goes to another server or into a token |
//! | primary | to flush its log (an empty logical message) | after a read of the primary by another region, if the log is not flushed |
//! | replica | how far it is ([`Tracker`](database::Tracker)) | while calls wait for a position; once when a session goes to another server or into a token |
//! | replica | the same ([`Replicas`](replicas::Replicas)) | after a read, at most once in [`probe_interval`](field@replicas::ReplicaSettings::probe_interval) |
//! | any | what functions a statement calls, its types | once for each statement |
//! | any | its role and identity | when a connection is opened, and when no node of the primary region answers |
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | region | where nodes run and replicas are; its name is a DNS label |
//! | primary region | the region that writes are forwarded to: first as the settings say, later as the databases say |
//! | primary, replica | a server that takes writes; a server in recovery, which replays them (`pg_is_in_recovery()`) |
//! | cluster | what one `initdb` made, and its copies; the system identifier names it |
//! | node | one process of the application with Homing in it |
//! | peer | another node, by region and address |
//! | local, forwarded | run on a database next to this node; sent to a peer in the primary region |
//! | named function | a function of the application that peers call by name; [`#[homing::remote]`](macro@remote) makes one |
//! | deadline | when the caller gives up; it travels as `grpc-timeout` |
//! | attempt | one request sent to one peer |
//! | fate | what became of a call that failed: not sent, rejected, outcome unknown, committed, or a function failed |
//! | report, observer | how a call went; the closure that receives the report |
//! | interactive transaction | several calls in one transaction, on one connection of the primary |
//! | batch, step, reference | statements of one transaction in one request; one of them; a parameter that takes a column of an earlier step's first row |
//! | version | a column that counts the changes of a row, so that a lost update is detected |
//! | conflict | what makes a new row the same as a stored one, and what happens to the stored one |
//! | replica set, entry, member | the servers that a node reads from; one connection string of its list; one server of the set |
//! | left out | not read from, because it is down or too far behind |
//! | LSN | log sequence number, a place in one write-ahead log |
//! | timeline | one history of a cluster; a promotion begins the next one |
//! | position | cluster, timeline and LSN; for a write also its transaction |
//! | flush, replay | written to disk on the primary; applied on the replica |
//! | session | a handle and its clones, with the position that their reads have to see |
//! | token | the positions of a session, for another node to continue it |
//! | route, forward, execute, `replay_wait` | the four stages of a write |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod connected;
mod context;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod node;
mod remote;
mod state;

#[doc(hidden)]
pub mod __private;

pub use config::Config;
pub use config::database::DatabaseConfig;
pub use context::Context;
pub use homing_macros::{Entity, FromRow, Insert, Update, remote};
#[cfg(feature = "sea-query")]
pub use homing_postgres::sea_query;
pub use homing_postgres::{
    Aggregate, Batch, Conflict, Consistency, Delivery, Entity, Error, Fate, FromRow, Insert, OnLag, Options, Repo,
    Result, Row, Token, Update, Wait, WeakRepo, migration_sql, params,
};
pub use homing_rpc::{Region, Secret, Topology};
pub use node::{Node, NodeBuilder};
pub use remote::{Registered, Remote};

pub mod batch {
    //! The parts of a [`Batch`](crate::Batch): its steps, their parameters and their results.

    pub use homing_postgres::{BatchResults, Parameter, Step};
}

#[cfg(feature = "sea-query")]
pub mod built {
    //! Statements that [`sea_query`](crate::sea_query) builds: which ones [`Repo`](crate::Repo) runs, and how to begin
    //! one for an entity.

    pub use homing_postgres::{Begin, Built};
}

pub mod copy {
    //! The data of a COPY. See [`Repo::copy_in`](crate::Repo::copy_in) and [`Repo::copy_out`](crate::Repo::copy_out).

    pub use homing_postgres::{CopyIn, CopyOut};
}

pub mod database {
    //! The database next to a node: its role, and how far it has replayed.

    pub use homing_postgres::{Ancestor, Database, Login, Role, ServerState, Tracker, Unavailable, Verdict, WaitError};
}

pub mod discover {
    //! How a node finds the peers of a region: a static list, DNS, or an implementation of your own. See
    //! [`Config::discover`](crate::Config::discover).

    pub use homing_rpc::{BoxFuture, Discover, DnsConfig, DnsTemplate, FlyDns, HostResolver, Resolution, StaticPeers};
}

pub mod error {
    //! PostgreSQL's own errors, which an [`Error`](crate::Error) holds.

    pub use homing_postgres::{DatabaseError, SqlState};
}

pub mod outcome {
    //! What became of a write: see [`Repo::with_key`](crate::Repo::with_key) and [`Repo::outcome`](crate::Repo::outcome).

    pub use homing_postgres::{IdempotencyKey, Outcome};
}

pub mod position {
    //! Positions in the write-ahead log: how far a write, a read or a server is.

    pub use homing_postgres::{Lsn, ParseLsnError, Position, PositionKind, SystemIdentifier, Timeline, TransactionId};
}

pub mod prelude {
    //! The names that most files of an application need, for `use homing::prelude::*`.

    #[doc(no_inline)]
    #[cfg(feature = "sea-query")]
    pub use crate::built::Begin;
    #[doc(no_inline)]
    pub use crate::{Batch, Context, Entity, FromRow, Insert, Node, Repo, Update, params, remote};
}

pub mod replicas {
    //! The replicas that a node reads from: their list, the choice among them, their state, and what a read costs.

    pub use homing_postgres::{
        Choose, Health, Measure, ReadFigures, ReadRow, ReadTable, Replica, ReplicaList, ReplicaSettings, ReplicaStatus,
        Replicas,
    };
}

pub mod report {
    //! How a call went: which server answered it, and how long each stage took. See
    //! [`Repo::with_observer`](crate::Repo::with_observer).

    pub use homing_postgres::{AnsweredBy, Report, Stages};
}

pub mod row {
    //! The columns of a [`Row`](crate::Row), and streams of any number of rows.

    pub use homing_postgres::{Column, RowIndex, RowStream};
}

pub mod rpc {
    //! Calls of named functions in any region, below [`Repo`](crate::Repo): the client, its errors, its peers and traces.
    //! [`Repo::rpc_client`](crate::Repo::rpc_client) returns the client of a node, and
    //! [`Node::refusals`](crate::Node::refusals) the connections that its server has refused.

    pub use homing_rpc::{
        Called, Error, FromArguments, IntoArguments, PeerHealth, PeerName, PeerSettings, PeerStatus, Refusal, Refusals,
        Result, Rpc, Tls, TraceContext,
    };
}

pub mod transaction {
    //! The settings of an interactive transaction. See [`Repo::transaction_with`](crate::Repo::transaction_with).

    pub use homing_postgres::{Access, Isolation, TransactionOptions};
}

pub mod types {
    //! How values of Rust become parameters and columns of PostgreSQL.

    pub use homing_postgres::{FromSql, ToSql, Type};
}
