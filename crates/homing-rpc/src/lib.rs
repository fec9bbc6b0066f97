//! Regions, discovery, peers and named functions: call a function in any region; knows no SQL.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use homing_rpc::{FunctionError, NodeConfig, Region, Registry, Rpc, Secret, Server, StaticPeers, Topology};
//!
//! # #[tokio::main]
//! # async fn main() -> homing_rpc::Result<()> {
//! let (iad, syd) = (Region::new("iad")?, Region::new("syd")?);
//! let secret = Secret::new("the-same-on-all-nodes-and-not-in-the-source")?;
//!
//! // A node in the primary region.
//! let mut functions = Registry::new();
//! functions.register_fn("add", |_context, (a, b): (i64, i64)| async move {
//!     a.checked_add(b).ok_or(FunctionError::new("too much"))
//! })?;
//! let config = NodeConfig::new(Topology::new(iad.clone(), iad.clone()))
//!     .with_secret(secret.clone())
//!     .with_functions(Arc::new(functions));
//! let server = Server::builder(config).listen(([127, 0, 0, 1], 0).into()).start().await?;
//!
//! // A node on the other side of the world.
//! let peers = StaticPeers::none().with_region(iad.clone(), [server.local_addr()]);
//! let rpc = Rpc::new(NodeConfig::new(Topology::new(syd, iad)).with_secret(secret), Arc::new(peers));
//! let called = rpc.call_primary::<i64>("add", (40, 2), Duration::from_secs(5)).await?;
//! assert_eq!(called.value, 42);
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Structure
//!
//! - [`Topology`] says in which [`Region`] a node runs and which one is primary; [`Discover`] finds the addresses of a
//!   region's nodes ([`FlyDns`], [`DnsTemplate`], [`StaticPeers`]).
//! - [`Registry`] holds the named functions of a node, and [`Server`] offers them, with whatever gRPC services are added.
//! - [`Rpc`] calls them. For each region in use one task keeps the list of peers; for each peer one task keeps its
//!   connection and watches its health. A call goes to the less busy of two random peers that are up.
//! - [`Rpc::dispatch`] is what a call is made of, for other services than that of named functions.
//!
//! # Guarantees
//!
//! - **Known fate.** Every error is one of *not sent*, *outcome unknown* and *executed*: see [`Error`]. *Not sent* needs a
//!   proof: no connection, HTTP/2's word that the stream was not processed, or the peer's own that it turned the call down.
//! - **At most once.** A call is sent again only while it was provably not executed, unless it is dispatched with
//!   [`Retry::Always`].
//! - **Time limits hold.** A call ends by its deadline. The server is given less time than the caller has, so that its
//!   own answer, which says what became of the call, arrives before the caller gives up.
//! - **Cancelling travels.** A dropped call tells the function ([`CallContext::cancelled`]), which ends at the deadline at
//!   the latest.
//! - **Everything is bounded:** messages, calls in flight, connections, attempts, addresses. Over the bound the answer is an
//!   error at once.
//! - **Nobody else.** Every request shows the [`Secret`]; without one a server serves loopback only.
//! - **Nothing stays.** What an [`Rpc`] or a [`ServerHandle`] has started ends when its last handle is dropped.
//!
//! Calls are not ordered: two that are made at the same time may arrive in either order, at different nodes.
//!
//! # Features
//!
//! None.

mod discover;
mod error;
mod function;
mod metadata;
mod node;
mod peer;
mod region;
mod rpc;
mod secret;
mod server;
mod task;
mod topology;

pub use discover::dns::DnsConfig;
pub use discover::environment::{discover_from_lookup, dns_from_lookup};
pub use discover::fly::FlyDns;
pub use discover::host::HostResolver;
pub use discover::static_peers::StaticPeers;
pub use discover::template::DnsTemplate;
pub use discover::{Discover, Resolution};
pub use error::details::Details;
pub use error::reason::Reason;
pub use error::{Error, Result};
pub use function::Function;
pub use function::arguments::{Arguments, FromArguments, IntoArguments};
pub use function::closure::Closure;
pub use function::context::CallContext;
pub use function::error::FunctionError;
pub use function::registry::Registry;
pub use metadata::caller::Caller;
pub use metadata::trace::TraceContext;
pub use node::config::{DEFAULT_MAX_MESSAGE_BYTES, NodeConfig, Positions, States};
pub use peer::channel::PeerChannel;
pub use peer::name::PeerName;
pub use region::Region;
pub use rpc::Rpc;
pub use rpc::call::Called;
pub use rpc::dispatch::{Dispatch, Dispatched};
pub use rpc::retry::Retry;
pub use secret::Secret;
pub use secret::key::Key;
pub use server::{Server, ServerBuilder, ServerHandle};
pub use task::BoxFuture;
pub use topology::Topology;
