use std::sync::Arc;

use askama::Template;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Form, Router, middleware};
use homing::Repo;
use homing_http::{RequestInfo, RequestRepo, SessionLayer};
use serde::Deserialize;
use tokio::time::Instant;

use crate::control::Control;
use crate::entry::{Entry, NewEntry};
use crate::failure::{Failure, refused};
use crate::functions::{sign_each, sign_many};
use crate::guard::guard;
use crate::live::{Live, View, milliseconds, peer};
use crate::watch;

/// What all requests share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) repo: Repo,
    pub(crate) live: Arc<Live>,
    pub(crate) control: Option<Control>,
}

type Reply = Result<Redirect, Failure>;

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(page).post(sign))
        .route("/entries/{id}", post(edit))
        .route("/entries/{id}/delete", post(delete))
        .route("/fifty/loop", post(fifty_in_a_loop))
        .route("/fifty/function", post(fifty_in_a_function))
        .route("/control", post(act))
        .route("/live", get(live))
        .route("/style.css", get(asset("text/css", include_str!("../assets/style.css"))))
        .route("/live.js", get(asset("text/javascript", include_str!("../assets/live.js"))))
        .route("/icon.svg", get(asset("image/svg+xml", include_str!("../assets/icon.svg"))))
        .route("/world.svg", get(asset("image/svg+xml", include_str!("../assets/world.svg"))))
        .layer(SessionLayer::new(&app.repo))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::from_fn(guard))
        .with_state(app)
}

#[derive(Debug, Deserialize)]
struct Wish {
    #[serde(default)]
    search: String,
    /// How many milliseconds it took, what was sent before.
    done: Option<f64>,
}

#[derive(Debug, Template)]
#[template(path = "page.html")]
struct Page {
    wish: Wish,
    entries: Vec<Entry>,
    /// Who read the entries, if not this node, and in how many milliseconds.
    reader: Option<String>,
    took: f64,
    view: View,
}

async fn page(
    State(app): State<App>,
    RequestRepo(repo): RequestRepo,
    info: RequestInfo,
    Query(wish): Query<Wish>,
) -> Result<impl IntoResponse, Failure> {
    let started = Instant::now();
    let entries = entries(&repo, &wish.search).await?;
    let took = milliseconds(started.elapsed());
    let reader = info.reports().last().and_then(peer);
    if !app.live.is_recent() {
        watch::look(&app).await;
    }
    let page = Page { wish, entries, reader, took, view: app.live.now() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Html(page.to_string())))
}

/// The last ones, or those that raw SQL finds.
async fn entries(repo: &Repo, search: &str) -> homing::Result<Vec<Entry>> {
    if search.is_empty() {
        return repo.all("order by id desc limit 20", &[]).await;
    }
    let found = "select id, name, message, region, written_at from entries
        where position(lower($1) in lower(name || ' ' || message)) > 0 order by id desc limit 20";
    repo.query(found, &[&search]).await?.iter().map(homing::Entity::from_row).collect()
}

#[derive(Debug, Deserialize)]
struct Words {
    name: String,
    message: String,
}

impl Words {
    fn check(&self) -> Result<(&str, &str), Failure> {
        let (name, message) = (self.name.trim(), self.message.trim());
        if name.is_empty() || name.chars().count() > 60 || message.chars().count() > 500 {
            let rule = "write a name of up to 60 characters, and a message of up to 500";
            return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, rule));
        }
        Ok((name, message))
    }
}

async fn sign(State(app): State<App>, RequestRepo(repo): RequestRepo, Form(words): Form<Words>) -> Reply {
    let (name, message) = words.check()?;
    let new = NewEntry { name, message, region: repo.region().as_str() };
    app.done("sign", repo.insert(&new)).await
}

async fn edit(
    State(app): State<App>,
    RequestRepo(repo): RequestRepo,
    Path(id): Path<i64>,
    Form(words): Form<Words>,
) -> Reply {
    let (name, message) = words.check()?;
    let edited = async {
        let entry: Entry = repo.one("where id = $1", &[&id]).await?;
        repo.update(&Entry { name: name.to_owned(), message: message.to_owned(), ..entry }).await
    };
    app.done("change", edited).await
}

async fn delete(State(app): State<App>, RequestRepo(repo): RequestRepo, Path(id): Path<i64>) -> Reply {
    app.done("delete", repo.execute("delete from entries where id = $1", &[&id])).await
}

async fn fifty_in_a_loop(State(app): State<App>, RequestRepo(repo): RequestRepo) -> Reply {
    let region = repo.region().as_str();
    app.done("sign 50 times", sign_each(&repo, "Loop", region, "in a loop", 50)).await
}

async fn fifty_in_a_function(State(app): State<App>, RequestRepo(repo): RequestRepo) -> Reply {
    app.done("sign 50 times", sign_many::call(&repo, "Function".to_owned(), 50)).await
}

#[derive(Debug, Deserialize)]
struct Action {
    action: String,
}

/// What people want to try. Only where somebody offers it: it is no button for strangers.
async fn act(State(app): State<App>, Form(Action { action }): Form<Action>) -> Reply {
    let Some(control) = &app.control else {
        return Err(refused(StatusCode::NOT_FOUND, "nobody offers that here: set GUESTBOOK_CONTROL"));
    };
    let started = Instant::now();
    // A session that has written nothing asks the replica here, however far behind it is.
    let here = app.repo.session();
    match action.as_str() {
        "pause" => here.query("select pg_wal_replay_pause()", &[]).await.map(drop)?,
        "resume" => here.query("select pg_wal_replay_resume()", &[]).await.map(drop)?,
        _ => control
            .act(&action)
            .await
            .map(drop)
            .map_err(|error| refused(StatusCode::BAD_GATEWAY, &error.to_string()))?,
    }
    watch::look(&app).await;
    Ok(back(started))
}

async fn live(State(app): State<App>) -> Result<impl IntoResponse, StatusCode> {
    if app.live.viewers() >= MOST_VIEWERS {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Sse::new(app.live.stream()).keep_alive(KeepAlive::default()))
}

/// A response, which serves as its own handler.
fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone + Send + Sync + 'static {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text)
}

impl App {
    /// Makes a call, and sends the browser back to the page.
    async fn done<T>(&self, what: &str, call: impl Future<Output = homing::Result<T>>) -> Reply {
        let started = Instant::now();
        call.await.inspect_err(|error| self.live.failed(what, error))?;
        Ok(back(started))
    }
}

fn back(started: Instant) -> Redirect {
    Redirect::to(&format!("/?done={}", milliseconds(started.elapsed())))
}

/// Of a form; a name and a message fit in, whatever they are written in.
const MOST_BYTES: usize = 8 * 1024;

/// Each holds a connection.
const MOST_VIEWERS: usize = 256;
