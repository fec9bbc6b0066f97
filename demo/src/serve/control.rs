//! The control address: the guestbook's buttons cut links and stop nodes through it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stage::{CUT, Stage};

#[derive(Clone, Debug)]
struct Control {
    stage: Arc<Stage>,
    /// The regions whose links are cut.
    cut: Arc<Mutex<BTreeSet<String>>>,
}

/// Serves orders until the future is dropped.
pub(super) async fn serve(listener: TcpListener, stage: Arc<Stage>) -> std::io::Result<()> {
    let control = Control { stage, cut: Arc::default() };
    let router = Router::new()
        .route("/state", get(state))
        .route("/links/{region}/{verb}", post(link))
        .route("/peers/{name}/{verb}", post(peer))
        .layer(from_fn(no_browser))
        .with_state(control);
    axum::serve(listener, router).await
}

/// Refuses orders from pages in a browser on this machine. The guestbook sends its orders from its server.
async fn no_browser(request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.headers().contains_key(header::ORIGIN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

async fn state(State(control): State<Control>) -> Json<Value> {
    let stage = &control.stage;
    let mut peers = Vec::new();
    for node in stage.all_nodes() {
        peers.push(json!({ "name": node.name, "running": node.process.is_running().await }));
    }
    let cut = control.cut.lock().unwrap_or_else(PoisonError::into_inner);
    let links = stage.replica_regions().map(|region| json!({ "region": region, "open": !cut.contains(region) }));
    let pages = stage.all_nodes().iter().map(|node| json!({ "region": node.region, "url": node.url }));
    Json(json!({
        "links": links.collect::<Vec<_>>(),
        "peers": peers,
        "pages": pages.collect::<Vec<_>>(),
    }))
}

async fn link(State(control): State<Control>, Path((region, verb)): Path<(String, String)>) -> StatusCode {
    let Some(link) = control.stage.link(&region) else { return StatusCode::NOT_FOUND };
    let mark = |cut: bool| {
        let mut regions = control.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if cut { regions.insert(region.clone()) } else { regions.remove(&region) }
    };
    match verb.as_str() {
        "cut" => link.cut(CUT).await,
        "open" => {
            if let Err(error) = link.heal().await {
                return failed(&error);
            }
        }
        _ => return StatusCode::NOT_FOUND,
    }
    mark(verb == "cut");
    StatusCode::NO_CONTENT
}

async fn peer(State(control): State<Control>, Path((name, verb)): Path<(String, String)>) -> StatusCode {
    let Some(node) = control.stage.node(&name) else { return StatusCode::NOT_FOUND };
    let done = match verb.as_str() {
        "stop" => node.process.kill().await,
        "start" if node.process.is_running().await => Ok(()),
        "start" => node.process.restart().await,
        _ => return StatusCode::NOT_FOUND,
    };
    done.map_or_else(|error| failed(&error), |()| StatusCode::NO_CONTENT)
}

fn failed(error: &homing_testbed::Error) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}
