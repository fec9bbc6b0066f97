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
use crate::standing::local;

/// What happens on a node. Clones share one state.
#[derive(Clone, Debug)]
pub struct Dashboard(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) live: Live,
    pub(crate) control: Option<Control>,
    /// Held by the task that asks the regions.
    pub(crate) refreshing: Mutex<()>,
}

/// The state that requests share.
type Shared = State<(Dashboard, Repo)>;

impl Dashboard {
    /// Returns a dashboard for a node in this region.
    pub fn new(topology: &Topology) -> Self {
        Self(Arc::new(Inner { live: Live::new(topology), control: Control::from_env(), refreshing: Mutex::default() }))
    }

    /// Adds a call of the node. This is the node's observer.
    pub fn observe(&self, report: &Report) {
        self.0.live.observe(report);
    }

    /// Returns what the page shows now. Asks the regions for their state, unless that was done a moment ago.
    pub async fn view(&self, repo: &Repo) -> View {
        if !self.0.live.is_recent() {
            self.refresh(repo).await;
        }
        self.0.live.now()
    }

    /// Ends the streams of events of all pages, which would not end by themselves.
    pub fn close(&self) {
        self.0.live.close();
    }

    /// Returns the routes for the files that the page loads and for its buttons.
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

/// Obeys a button of the page, if `DASHBOARD_CONTROL` is set: a public page has no such buttons.
async fn act(
    State((dashboard, repo)): Shared,
    Form(Action { action }): Form<Action>,
) -> Result<Redirect, (StatusCode, String)> {
    let Some(control) = &dashboard.0.control else {
        return Err((
            StatusCode::NOT_FOUND,
            "this page has no controls: set DASHBOARD_CONTROL to offer them".to_owned(),
        ));
    };
    let sql = match action.as_str() {
        "pause" => Some("select pg_wal_replay_pause()"),
        "resume" => Some("select pg_wal_replay_resume()"),
        _ => None,
    };
    let failed = match sql {
        Some(sql) => run_locally(&repo, sql).await.err().map(|error| error.to_string()),
        None => control.act(&action).await.err().map(|error| error.to_string()),
    };
    if let Some(error) = failed {
        return Err((StatusCode::BAD_GATEWAY, error));
    }
    dashboard.refresh(&repo).await;
    Ok(Redirect::to("/"))
}

async fn run_locally(repo: &Repo, sql: &str) -> homing::Result<()> {
    local(repo)?.query(sql, &[]).await.map(drop)
}

async fn live(State((dashboard, _)): Shared) -> Result<impl IntoResponse, StatusCode> {
    if dashboard.0.live.viewers() >= MAX_VIEWERS {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Sse::new(dashboard.0.live.stream()).keep_alive(KeepAlive::default()))
}

/// Returns a response that serves as its own handler.
fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone + Send + Sync + 'static {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300")], text)
}

/// Bounds the connections that pages hold.
const MAX_VIEWERS: usize = 256;
