use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use homing::report::Report;
use homing::{Repo, Topology};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::View;
use crate::control::Control;
use crate::live::Live;
use crate::standing::here;

/// What happens on a node. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Dashboard(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) live: Live,
    pub(crate) control: Option<Control>,
    /// Held by whoever asks the regions.
    pub(crate) looking: Mutex<()>,
}

/// What requests share.
type Shared = State<(Dashboard, Repo)>;

impl Dashboard {
    /// One for a node of this region.
    pub fn new(topology: &Topology) -> Self {
        Self(Arc::new(Inner { live: Live::new(topology), control: Control::from_env(), looking: Mutex::default() }))
    }

    /// Notes a call of the node's: its observer.
    pub fn observe(&self, report: &Report) {
        self.0.live.observe(report);
    }

    /// What the page shows now. The regions are asked how they are, unless that was done a moment ago.
    pub async fn view(&self, repo: &Repo) -> View {
        if !self.0.live.is_recent() {
            self.look(repo).await;
        }
        self.0.live.now()
    }

    /// Ends the pages' streams of events, which have no end of their own.
    pub fn close(&self) {
        self.0.live.close();
    }

    /// What the page loads and where its buttons lead.
    pub fn router(&self, repo: &Repo) -> Router {
        Router::new()
            .route("/control", post(act))
            .route("/live", get(live))
            .route("/dashboard.css", get(asset("text/css", include_str!("../assets/dashboard.css"))))
            .route("/dashboard.js", get(asset("text/javascript", include_str!("../assets/dashboard.js"))))
            .route("/world.svg", get(asset("image/svg+xml", include_str!("../assets/world.svg"))))
            .with_state((self.clone(), repo.clone()))
    }
}

#[derive(Debug, Deserialize)]
struct Action {
    action: String,
}

/// What people want to try. Only where somebody offers it: it is no button for strangers.
async fn act(
    State((dashboard, repo)): Shared,
    Form(Action { action }): Form<Action>,
) -> Result<Redirect, (StatusCode, String)> {
    let Some(control) = &dashboard.0.control else {
        return Err((StatusCode::NOT_FOUND, "nobody offers that here: set DASHBOARD_CONTROL".to_owned()));
    };
    let sql = match action.as_str() {
        "pause" => Some("select pg_wal_replay_pause()"),
        "resume" => Some("select pg_wal_replay_resume()"),
        _ => None,
    };
    let failed = match sql {
        Some(sql) => run_here(&repo, sql).await.err().map(|error| error.to_string()),
        None => control.act(&action).await.err().map(|error| error.to_string()),
    };
    if let Some(error) = failed {
        return Err((StatusCode::BAD_GATEWAY, error));
    }
    dashboard.look(&repo).await;
    Ok(Redirect::to("/"))
}

async fn run_here(repo: &Repo, sql: &str) -> homing::Result<()> {
    here(repo)?.query(sql, &[]).await.map(drop)
}

async fn live(State((dashboard, _)): Shared) -> Result<impl IntoResponse, StatusCode> {
    if dashboard.0.live.viewers() >= MOST_VIEWERS {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Sse::new(dashboard.0.live.stream()).keep_alive(KeepAlive::default()))
}

/// A response, which serves as its own handler.
fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone + Send + Sync + 'static {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300")], text)
}

/// Each holds a connection.
const MOST_VIEWERS: usize = 256;
