use std::time::Duration;

use askama::Template;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Form, Router};
use dashboard::{Dashboard, View};
use homing::Repo;
use homing_http::{RequestInfo, RequestRepo, SessionLayer};
use serde::Deserialize;
use tokio::time::Instant;
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::entry::{Edit, Entry, NewEntry};
use crate::failure::{Failure, refused};
use crate::functions::{sign_each, sign_many};

/// The state that all requests share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) repo: Repo,
    pub(crate) dashboard: Dashboard,
}

type Reply = Result<Redirect, Failure>;

pub(crate) fn router(app: App) -> Router {
    let dashboard = app.dashboard.router(&app.repo);
    let other_site = |_| refused(StatusCode::FORBIDDEN, "this form was sent by another site").into_response();
    Router::new()
        .route("/", get(page).post(sign))
        .route("/entries/{id}", post(edit))
        .route("/entries/{id}/delete", post(delete))
        .route("/fifty/loop", post(fifty_in_a_loop))
        .route("/fifty/function", post(fifty_in_a_function))
        .route("/style.css", get(asset("text/css", include_str!("../assets/style.css"))))
        .route("/page.js", get(asset("text/javascript", include_str!("../assets/page.js"))))
        .route("/icon.svg", get(asset("image/svg+xml", include_str!("../assets/icon.svg"))))
        .layer(SessionLayer::new(&app.repo))
        .with_state(app)
        .merge(dashboard)
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .layer(CsrfLayer::new().with_rejection_response(other_site))
        .layer(with_header(CONTENT_SECURITY_POLICY, POLICY))
        .layer(with_header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(with_header(REFERRER_POLICY, "same-origin"))
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    #[serde(default)]
    search: String,
    /// How many milliseconds the previous form took.
    done: Option<f64>,
}

#[derive(Debug, Template)]
#[template(path = "page.html")]
struct Page {
    query: PageQuery,
    entries: Vec<Entry>,
    /// The node that read the entries, if it was another one, and in how many milliseconds.
    reader: Option<String>,
    took: f64,
    view: View,
}

async fn page(
    State(app): State<App>,
    RequestRepo(repo): RequestRepo,
    info: RequestInfo,
    Query(query): Query<PageQuery>,
) -> Result<impl IntoResponse, Failure> {
    let started = Instant::now();
    let entries = entries(&repo, &query.search).await?;
    let took = milliseconds(started.elapsed());
    let reader = info.reports().last().and_then(|report| report.answered_by.peer().map(ToString::to_string));
    let page = Page { query, entries, reader, took, view: app.dashboard.view(&app.repo).await };
    Ok(([(CACHE_CONTROL, "no-store")], Html(page.to_string())))
}

/// Returns the last entries, or those that a search with raw SQL finds.
async fn entries(repo: &Repo, search: &str) -> homing::Result<Vec<Entry>> {
    if search.is_empty() {
        return repo.all("order by id desc limit 20", &[]).await;
    }
    let found = "select * from entries
        where position(lower($1) in lower(name || ' ' || message)) > 0 order by id desc limit 20";
    repo.query_as(found, &[&search]).await
}

async fn sign(RequestRepo(repo): RequestRepo, Form(mut new): Form<NewEntry>) -> Reply {
    new.region = repo.region().to_string();
    done(repo.insert(&new)).await
}

async fn edit(RequestRepo(repo): RequestRepo, Path(id): Path<i64>, Form(edit): Form<Edit>) -> Reply {
    done(repo.update_columns(id, &edit)).await
}

async fn delete(RequestRepo(repo): RequestRepo, Path(id): Path<i64>) -> Reply {
    done(repo.execute("delete from entries where id = $1", &[&id])).await
}

async fn fifty_in_a_loop(RequestRepo(repo): RequestRepo) -> Reply {
    done(sign_each(&repo, "Loop", repo.region().as_str(), "in a loop", 50)).await
}

async fn fifty_in_a_function(RequestRepo(repo): RequestRepo) -> Reply {
    done(sign_many::call(&repo, "Function".to_owned(), 50)).await
}

/// Makes a call, and sends the browser back to the page.
async fn done<T, E: Into<Failure>>(call: impl Future<Output = Result<T, E>>) -> Reply {
    let started = Instant::now();
    call.await.map_err(Into::into)?;
    Ok(Redirect::to(&format!("/?done={}", milliseconds(started.elapsed()))))
}

/// Returns a response that serves as its own handler.
fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone + Send + Sync + 'static {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300")], text)
}

/// Rounds to a tenth of a millisecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn with_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The size of a form. A name and a message fit in, in any script.
const MAX_BYTES: usize = 8 * 1024;
