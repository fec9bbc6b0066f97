//! Sessions that follow a browser from request to request, replays on Fly.io, metrics, health.
//!
//! ```no_run
//! # #[cfg(feature = "axum")] {
//! use axum::Router;
//! use axum::routing::get;
//! use homing_http::{Health, RequestRepo, SessionLayer, status_of};
//! use http::StatusCode;
//!
//! async fn sign(RequestRepo(repo): RequestRepo) -> Result<&'static str, StatusCode> {
//!     let sql = "insert into entries (text) values ('hello')";
//!     repo.execute(sql, &[]).await.map_err(|error| status_of(&error))?;
//!     Ok("signed")
//! }
//!
//! async fn count(RequestRepo(repo): RequestRepo) -> Result<String, StatusCode> {
//!     let sql = "select count(*) from entries";
//!     let row = repo.query_one(sql, &[]).await.map_err(|error| status_of(&error))?;
//!     Ok(row.get::<_, i64>(0).to_string())
//! }
//!
//! # fn example(node: homing::Node) {
//! let repo = node.repo();
//! let app: Router = Router::new()
//!     .route("/", get(count).post(sign)) // whoever signs sees it in the count, at once, in every region
//!     .layer(SessionLayer::new(&repo))
//!     .route_service("/healthz", Health::new(&repo));
//! # }
//! # }
//! ```
//!
//! # Structure
//!
//! - [`SessionLayer`] is a tower layer for any HTTP service. It gives each request a [`RequestRepo`] and a
//!   [`RequestInfo`], in its extensions and as extractors of axum, and passes what the session has to see on to the
//!   next request, in a [`Cookie`] or a header.
//! - [`FlyReplay`] says which requests Fly.io's proxy had better replay in the primary region as a whole.
//! - [`status_of`] is the status of a response to a request whose call failed.
//! - [`Health`] is a service for `/healthz`, `Prometheus` one for `/metrics` (feature `prometheus`).
//!
//! # Guarantees
//!
//! - **Read your writes, from request to request.** What a request wrote through its [`RequestRepo`] before it
//!   returned the head of its response is seen by every later request that comes with the token of the response, on
//!   whatever node in whatever region; where the replica there is not that far within the limits, the primary answers.
//!   A browser sends the cookie for five minutes after the last write; replicas have to have caught up by then.
//! - **Several tabs.** A browser keeps the cookie that comes last. Each token of a node says what the node's tokens
//!   before it said, so of two requests at the same time to one node neither undoes the other. To two nodes, the next
//!   request sees the write of the response that came last, and perhaps not yet the other's.
//! - **Order of reads.** Requests that only read may be answered out of order by different replicas, unless
//!   [`Carry::Reads`] is set.
//! - **Nobody is hurt by a token.** A token holds positions, which only the nodes can sign. One that is forged or of
//!   another deployment is ignored; one that was taken from somebody else makes reads wait for a position that exists.
//!   What one request can ask for is bounded.
//! - **Nothing is held back.** Bodies pass through, as do upgraded connections.
//! - **Idle is free.** The layer asks no database by itself; health is looked at when somebody asks, once a second.
//!
//! # Metrics
//!
//! Through the `metrics` facade; all times are in seconds. `operation` is the method that was called, `answered_by` is
//! `here`, `peer` or, of a call that failed, perhaps `nobody`, `region` that of who answered. `outcome` is `ok` or the
//! fate of a call that failed: `not_sent`, `rejected`, `outcome_unknown`, `committed`, `function_failed`.
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
//! | `homing_lag_seconds`, `homing_is_primary`, `homing_primary_reachable`, `homing_healthy` | gauge | |
//!
//! Times and attempts are those of calls that somebody answered. The gauges are set whenever somebody looks at [`Health`],
//! by the limits of that one: have one for a process, and clone it.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | yes | extractors: [`RequestRepo`], [`RequestInfo`]; [`ReplayAtPrimary`] as a part of a response |
//! | `prometheus` | no | `Prometheus`: the metrics as text |

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
pub use session::fly_replay::{FlyReplay, LARGEST_BODY, ReplayAtPrimary};
pub use session::layer::{Carry, SessionLayer};
pub use session::request::{RequestInfo, RequestRepo, TokenState};
pub use session::service::SessionService;
pub use status::status_of;
