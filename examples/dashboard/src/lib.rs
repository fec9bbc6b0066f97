//! A part of a page that shows what happens on a node, live, for any application.
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
//! // The routes that this part of the page uses. The page itself contains `dashboard.view(&repo).await`.
//! let app: axum::Router = axum::Router::new().merge(dashboard.router(&node.repo()));
//! tokio::spawn(dashboard.run(node.repo()));
//! # Ok(())
//! # }
//! ```
//!
//! - [`Dashboard`] observes the node's calls, and sends them to the open pages as server-sent events.
//! - [`View`] is the part of the page, as HTML: the last writes with their stages, the regions on a map and in a table,
//!   lag over time, and buttons that stop and cut things.
//! - [`struct@how_is_it`] is the named function that asks a region for its state.
//!
//! Its routes are at the root of the site: `/live`, `/control` and three files. Its buttons lead back to `/`. `dashboard.css`
//! says which colours it takes from the page.

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
