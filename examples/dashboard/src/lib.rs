//! What happens on a node, live: a part of a page, for an application that wants to show it.
//!
//! ```no_run
//! # async fn example(config: homing::Config) -> homing::Result<()> {
//! use dashboard::{Dashboard, how_is_it};
//!
//! let dashboard = Dashboard::new(&config.topology);
//! let observer = dashboard.clone();
//! let node = homing::Node::with_config(config).register(how_is_it);
//! let node = node.with_observer(move |report| observer.observe(report)).start().await?;
//!
//! // What the part on the page loads and sends; the page itself has `dashboard.view(&repo).await` in it.
//! let app: axum::Router = axum::Router::new().merge(dashboard.router(&node.repo()));
//! tokio::spawn(dashboard.run(node.repo()));
//! # Ok(())
//! # }
//! ```
//!
//! - [`Dashboard`] is told of the node's calls, and tells the pages that are open, by server-sent events.
//! - [`View`] is the part of the page, as HTML: the last writes with their stages, the regions on a map and in a table,
//!   lag over time, and buttons for what can be stopped from outside.
//! - [`how_is_it`] is the named function by which the regions are asked.
//!
//! It lives at the root of its site: `/live`, `/control` and three files; its buttons lead back to `/`. `dashboard.css` says
//! which colours it takes from the page.

mod control;
mod dashboard;
mod live;
mod map;
mod standing;
mod watch;

pub use control::{Outside, Page, Switch};
pub use dashboard::Dashboard;
pub use live::{Call, View};
pub use standing::{Standing, how_is_it};
