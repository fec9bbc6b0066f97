//! The control address.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::Mutex;

use crate::gates::Gates;
use crate::routes::{Order, Routes};
use crate::state::{Page, State};

/// Answers for the relays here and those of the other gates.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Held while an order is carried out, so that two at once do not leave half of each in force.
    routes: Mutex<Routes>,
    gates: Gates,
    pages: Vec<Page>,
}

impl Control {
    pub(crate) fn new(routes: Routes, gates: Gates, pages: Vec<Page>) -> Self {
        Self { inner: Arc::new(Inner { routes: Mutex::new(routes), gates, pages }) }
    }

    async fn state(&self) -> State {
        let mut state = self.inner.routes.lock().await.state();
        state.pages.clone_from(&self.inner.pages);
        self.inner.gates.states().await.into_iter().for_each(|other| state.add(other));
        state
    }

    async fn order(&self, order: Order, path: &str, name: &str) -> anyhow::Result<bool> {
        let known_here = self.inner.routes.lock().await.obey(order, name).await?;
        Ok(self.inner.gates.order(path).await? || known_here)
    }
}

/// `GET /state`; `POST /links/{region}/cut` and `open`; `POST /peers/{name}/stop` and `start`.
pub(crate) fn router(control: Control) -> Router {
    Router::new().route("/state", get(state)).route("/{kind}/{name}/{verb}", post(order)).with_state(control)
}

async fn state(Shared(control): Shared<Control>) -> Json<State> {
    Json(control.state().await)
}

async fn order(
    Shared(control): Shared<Control>,
    Path((kind, name, verb)): Path<(String, String, String)>,
) -> Result<StatusCode, (StatusCode, String)> {
    let path = format!("/{kind}/{name}/{verb}");
    let unknown = || (StatusCode::NOT_FOUND, format!("there is no {path} here\n"));
    // What is one part of a path here has to be one on the way to the other gates too.
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let order = Order::parse(&kind, &verb).filter(|_| is_plain).ok_or_else(unknown)?;
    match control.order(order, &path, &name).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err((StatusCode::BAD_GATEWAY, format!("{error:#}\n"))),
    }
}
