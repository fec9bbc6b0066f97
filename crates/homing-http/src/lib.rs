#![cfg_attr(feature = "axum", doc = include_str!("../README.md"))]
//!
//! # Structure
//!
//! - [`SessionLayer`] is a tower layer for any HTTP service. It gives each request a [`RequestRepo`] and a
//!   [`RequestInfo`], in its extensions and as extractors of axum, and passes the session on to the visitor's next request
//!   in a [`Cookie`] or a header.
//! - [`FlyReplay`] says which requests Fly.io's proxy replays in the primary region as a whole.
//! - [`status_of`] returns the HTTP status for a failed call.
//! - [`Health`] is a service for `/healthz`, and `Prometheus` is one for `/metrics` (feature `prometheus`).
//!
//! # Guarantees
//!
//! - **Read your writes, from request to request.** A later request with the token of a response sees every write that the
//!   earlier request made through its [`RequestRepo`] before it returned the head of its response. This holds on any node
//!   in any region: if the replica there is not far enough in time, the primary answers. A browser sends the cookie for
//!   five minutes after the last write, and the replicas have to catch up within this time.
//! - **Several tabs.** A browser keeps the cookie of the response that comes last. Each token of a node includes the node's
//!   earlier tokens, so if a browser sends two requests to one node at the same time, its next request sees the writes of
//!   both. If it sends them to two nodes, its next request sees the write of the response that came last, and perhaps not
//!   yet the other one.
//! - **Order of reads.** Two requests that only read from different replicas may see states out of order, unless
//!   [`Carry::Reads`] is set.
//! - **Tokens are harmless.** A token has positions of the database, signed by the nodes. A node ignores a token that is
//!   forged or from another deployment. A stolen token makes reads wait for a position that exists, and nothing else. The
//!   number and length of the tokens of a request are bounded.
//! - **No buffering.** Bodies and upgraded connections pass through.
//! - **Idle is free.** With its default settings the layer sends no query of its own, except next to the primary: there it
//!   asks for the position once for each request that wrote. A health check probes the databases, at most once a second, and
//!   nothing else does.
//!
//! # Metrics
//!
//! They go to the `metrics` facade. All times are in seconds. `operation` is the name of the method that was called.
//! `answered_by` is `here`, `peer`, or `nobody` for a failed call without an answer, and `region` is the region of the
//! node that answered. `outcome` is `ok`, or the fate of a failed call: `not_sent`, `rejected`, `outcome_unknown`,
//! `committed`, `function_failed`.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `homing_stage_seconds` | histogram | `stage` (`route`, `forward`, `execute`, `replay_wait`), `operation`, `answered_by`, `region` |
//! | `homing_call_seconds` | histogram | `operation`, `answered_by`, `region` |
//! | `homing_calls_total` | counter | `outcome`, `operation`, `answered_by`, `region` |
//! | `homing_attempts_total` | counter | `operation`, `answered_by`, `region` |
//! | `homing_http_requests_total` | counter | `token` (`absent`, `taken`, `refused`) |
//! | `homing_http_tokens_total` | counter | `carried` (`yes`, `no`) |
//! | `homing_http_replays_total` | counter | `why` (`method`, `path`, `error`) |
//! | `homing_refused_connections_total` | counter | `reason` (`unknown_secret`, `silent` and the others of [`Refusal`](homing::rpc::Refusal)) |
//! | `homing_lag_seconds`, `homing_is_primary`, `homing_primary_reachable`, `homing_healthy` | gauge | |
//!
//! Only answered calls have times and attempts. Each check of a [`Health`] sets the gauges, by its own limits: create one
//! for the process, and clone it. Refused connections are counted if `Prometheus::with_refusals` gets them.
//!
//! # Known limits
//!
//! - Writes after the head of the response, in a streamed body, a WebSocket or a spawned task, are in no token.
//! - The report of a dropped call is never made: a call whose future is dropped is in no metric and in no
//!   [`RequestInfo`].
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | yes | extractors: [`RequestRepo`], [`RequestInfo`]; [`ReplayAtPrimary`] as a part of a response |
//! | `prometheus` | no | `Prometheus`: the metrics as text |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod endpoint;
mod health;
mod metering;
#[cfg(feature = "prometheus")]
mod prometheus;
mod session;
mod status;

pub use health::{Health, HealthReport, Status};
pub use metering::metered;
#[cfg(feature = "prometheus")]
pub use prometheus::Prometheus;
pub use session::cookie::{Cookie, Secure};
#[cfg(feature = "axum")]
pub use session::extract::MissingLayer;
pub use session::fly_replay::{FlyReplay, MAX_REPLAYED_BYTES, ReplayAtPrimary};
pub use session::layer::SessionLayer;
pub use session::request::{RequestInfo, RequestRepo, TokenState};
pub use session::service::SessionService;
pub use session::settings::Carry;
pub use status::status_of;
