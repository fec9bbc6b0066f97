#![doc = include_str!("../README.md")]
//! # Structure
//!
//! - **Where nodes are:** [`Topology`] says in which [`Region`] this node runs and which region is primary. A
//!   [`Discover`] finds the addresses of a region's nodes: [`FlyDns`], [`DnsTemplate`] or [`StaticPeers`].
//! - **What a node is:** [`NodeConfig`] holds its topology, its [`Secret`] and [`Tls`], its functions and its databases. The node's
//!   [`Rpc`] and [`Server`] share it.
//! - **Functions:** a [`Registry`] holds the functions of a node. A [`Server`] offers them to other nodes, together
//!   with added gRPC services.
//! - **Calls:** [`Rpc::call`] calls a function. [`Rpc::dispatch`] sends a request to any other gRPC service, with a
//!   [`Dispatch`] that says how.
//! - **Peers:** for each region in use, one task keeps the list of peers. For each peer, one task keeps the connection
//!   and watches the peer's health. A call goes to the less busy of two random peers that are up.
//!
//! # Guarantees
//!
//! - **Known fate.** For every error exactly one of *not sent*, *outcome unknown* and *executed* is true; see
//!   [`Error`]. *Not sent* needs a proof: there was no connection, or HTTP/2 says that the stream was not processed, or
//!   the peer refused the call with a [`Reason`].
//! - **At most once.** A call is sent again only if it was provably not executed, unless it is dispatched with
//!   [`Retry::Always`] or its function is registered as [idempotent](Closure::idempotent).
//! - **Time limits hold.** A call ends by its deadline. The server gets less time than the caller has, by the round
//!   trip and 50 ms, so that its answer, which knows the fate of the call, arrives before the caller gives up.
//! - **Cancellation travels.** If a call is dropped, [`CallContext::cancelled`] tells the function, which ends at the
//!   deadline at the latest.
//! - **Everything is bounded:** messages, calls in flight, connections, attempts, addresses. A call beyond a bound
//!   fails at once or waits until its deadline.
//! - **No strangers.** Both ends of a connection prove to each other that they have the [`Secret`], before the first
//!   request and without sending it, or certificates ([`Tls`]), or both. A server with neither listens on loopback
//!   addresses only.
//! - **Nothing is left.** The tasks of an [`Rpc`] or a [`ServerHandle`] end when its last handle is dropped.
//!
//! Calls are not ordered: two calls at the same time may arrive in either order, at different nodes.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | region | where nodes run; a DNS label |
//! | primary region | the region whose nodes are asked to write, according to the settings |
//! | node | one process of the application |
//! | peer | another node, by its region and address |
//! | named function | a function of the application that peers call by its name |
//! | scope | a text that a call passes to its function, for example the name of a database |
//! | deadline | the time at which the caller gives up; it travels as `grpc-timeout` |
//! | attempt | one request to one peer |
//! | fate | whether a failed call was executed |
//! | reason | why a node refused a request before anything was executed |
//! | route, forward, execute | stages of a call: until the last attempt, until the answer, the function's own time |
//! | drain | let calls in flight finish, and refuse new ones |
//!
//! # Third-party types
//!
//! These types of other crates are part of the public interface. A new major version of one of them is a new major
//! version of this crate.
//!
//! - `tonic::{Request, Response, Status}`, `tonic::body::Body` and `tonic::server::NamedService`, in [`Rpc::dispatch`],
//!   [`PeerChannel`], [`ServerBuilder::service`], [`Caller::of`], [`Reason::of`] and [`Reason::status`]: generated gRPC
//!   clients and services are defined by them.
//! - `tower::Service` and `http::{Request, Response}`, in [`PeerChannel`] and [`ServerBuilder::service`], for the same
//!   reason.
//! - `prost::Message`, in [`Rpc::check_size`]: generated messages implement it.
//! - `serde::Serialize` and `serde::de::DeserializeOwned`, for arguments and results of functions: applications derive
//!   them.
//! - `bytes::Bytes`, in [`Function`], [`Arguments`] and [`Details`]: encoded values are passed on without a copy.
//! - `tokio::time::Instant`, for deadlines: tests can pause tokio's clock.
//!
//! Generated types come from `homing-proto`, which has the same version as this crate. They are public where this crate
//! passes on a message that it does not look into: it knows no SQL, and a copy of the type would have to follow every
//! change of the message.
//!
//! - `Position`, in [`Called::positions`], [`Error::positions`] and [`Positions::current`];
//! - `DatabaseState`, in [`States::states`];
//! - `DescribeResponse`, in [`Rpc::describe`].
//!
//! # Features
//!
//! None.

mod discover;
mod error;
mod function;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod metadata;
mod node;
mod peer;
mod region;
mod reload;
mod rpc;
mod secret;
mod server;
mod task;
mod tls;
mod topology;

pub use discover::dns::DnsConfig;
pub use discover::environment::{discover_from_lookup, dns_from_lookup};
pub use discover::fly::FlyDns;
pub use discover::host::HostResolver;
pub use discover::static_peers::StaticPeers;
pub use discover::template::DnsTemplate;
pub use discover::{Discover, Resolution};
#[doc(hidden)] // For `homing-postgres`.
pub use error::causes::Causes;
pub use error::details::Details;
pub use error::reason::Reason;
#[doc(hidden)]
pub use error::reason::explain_unimplemented;
pub use error::{Error, Result};
pub use function::Function;
pub use function::arguments::{Arguments, FromArguments, IntoArguments};
pub use function::closure::Closure;
#[doc(hidden)]
pub use function::codec::{CodecError, decode as decode_value, encode as encode_value};
pub use function::context::CallContext;
pub use function::error::FunctionError;
pub use function::registry::Registry;
pub use handshake::refusal::Refusal;
pub use metadata::caller::Caller;
pub use metadata::cluster::Cluster;
pub use metadata::expectations::Expectations;
pub use metadata::key::CallKey;
#[doc(hidden)]
pub use metadata::key::fingerprint_of;
pub use metadata::trace::TraceContext;
pub use node::config::{DEFAULT_MAX_MESSAGE_BYTES, NodeConfig, Positions, States};
pub use peer::channel::PeerChannel;
#[doc(hidden)]
pub use peer::fate::Fate;
pub use peer::name::PeerName;
pub use peer::settings::PeerSettings;
pub use peer::status::{PeerHealth, PeerStatus};
pub use region::Region;
#[doc(hidden)] // For `homing-postgres`.
pub use reload::{Digest, Reloaded, digest_of};
pub use rpc::Rpc;
pub use rpc::call::Called;
pub use rpc::dispatch::{Dispatch, Dispatched};
#[doc(hidden)]
pub use rpc::failures::Failures;
#[doc(hidden)]
pub use rpc::retry::Failure;
pub use rpc::retry::Retry;
pub use secret::Secret;
pub use secret::key::Key;
pub use server::refusals::Refusals;
pub use server::{
    DEFAULT_DRAIN_TIMEOUT, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_PEER_CONNECTIONS, Server, ServerBuilder, ServerHandle,
};
pub use task::BoxFuture;
#[doc(hidden)]
pub use task::catch_panic;
pub use tls::Tls;
pub use topology::Topology;
