//! The requests that Fly.io's proxy replays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::any;
use homing::{Delivery, Repo};
use homing_http::{FlyReplay, MAX_REPLAYED_BYTES, ReplayAtPrimary, RequestInfo, RequestRepo, SessionLayer, status_of};

use crate::fixture::{Answer, World, send};

/// A handler that counts its requests.
fn counting(repo: &Repo, fly_replay: FlyReplay) -> (Router, Arc<AtomicU32>) {
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let handler = async move |info: RequestInfo| {
        count.fetch_add(1, Ordering::Relaxed);
        info.replayed_from().unwrap_or("here").to_owned()
    };
    let app = Router::new().fallback(any(handler)).layer(SessionLayer::new(repo).with_fly_replay(fly_replay));
    (app, handled)
}

async fn request(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(app, request.body(Body::empty()).unwrap()).await
}

fn is_replay(answer: &Answer) -> bool {
    let replay = answer.headers.get("fly-replay");
    if let Some(value) = replay {
        assert_eq!((value.to_str().unwrap(), answer.status), ("region=iad", StatusCode::CONFLICT));
        assert!(answer.text.is_empty() && !answer.headers.contains_key("set-cookie"));
    }
    replay.is_some()
}

#[tokio::test]
async fn lists_decide_what_is_replayed() {
    let world = World::shared().await;
    let lists = FlyReplay::writing_methods().with_always("/admin/").with_never("/admin/health").with_never("/uploads");
    let (app, handled) = counting(&world.syd.repo(), lists);
    let (length, too_long) = (MAX_REPLAYED_BYTES.to_string(), (MAX_REPLAYED_BYTES + 1).to_string());
    let mut expected = 0;
    for (method, path, headers, replayed) in [
        ("GET", "/", &[][..], false),
        ("HEAD", "/", &[], false),
        ("POST", "/", &[], true),
        ("PUT", "/a/b", &[], true),
        ("PATCH", "/?x=/uploads", &[], true),
        ("DELETE", "/", &[], true),
        ("OPTIONS", "/", &[], false),
        ("GET", "/admin", &[], true),
        ("GET", "/admin/users", &[], true),
        ("GET", "/administrator", &[], false),
        ("GET", "/admin/health", &[], false),
        ("POST", "/admin/health/x", &[], false),
        ("POST", "/uploads", &[], false),
        ("POST", "/uploads2", &[], true),
        ("POST", "/", &[("content-length", length.as_str())], true),
        ("POST", "/", &[("content-length", too_long.as_str())], false),
        ("POST", "/", &[("content-length", "many")], false),
        ("POST", "/", &[("transfer-encoding", "chunked")], false),
        ("POST", "/", &[("fly-replay-src", "instance=1;region=syd;t=1")], false),
        ("GET", "/admin", &[("fly-replay-src", "made up")], false),
    ] {
        let answer = request(&app, method, path, headers).await;
        assert_eq!(is_replay(&answer), replayed, "{method} {path} {headers:?}");
        expected += u32::from(!replayed);
        assert_eq!(handled.load(Ordering::Relaxed), expected, "{method} {path} {headers:?}");
    }
    let answer = request(&app, "POST", "/", &[("fly-replay-src", "region=syd")]).await;
    assert_eq!(answer.text, "region=syd");
}

#[tokio::test]
async fn nothing_is_replayed_beside_primary() {
    let world = World::shared().await;
    let (app, handled) = counting(&world.iad.repo(), FlyReplay::writing_methods().with_always("/"));
    assert!(!is_replay(&request(&app, "POST", "/", &[]).await));
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

/// Fails like a write on a read-only database. Before that it writes if the path is `/written`, and the outcome of its
/// write is unknown if the path is `/unknown`.
async fn refused(RequestRepo(repo): RequestRepo, request: Request<Body>) -> (Option<ReplayAtPrimary>, StatusCode) {
    if request.uri().path() == "/written" {
        repo.execute("insert into counters values (1, 1)", &[]).await.unwrap();
    }
    if request.uri().path() == "/unknown" {
        let repo = repo.with_delivery(Delivery::AtMostOnce);
        let error = repo.execute(UNKNOWN, &[]).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
        assert_eq!(status_of(&error), StatusCode::BAD_GATEWAY);
    }
    let sql = if request.uri().path() == "/other" { "select 1/0" } else { READ_ONLY };
    let error = repo.execute(sql, &[]).await.unwrap_err();
    (ReplayAtPrimary::for_error(&error), StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::test]
async fn read_only_error_replays_unless_written() {
    let world = World::shared().await;
    let layer = SessionLayer::new(&world.syd.repo()).with_fly_replay(FlyReplay::on_error().with_never("/never"));
    let app = Router::new().fallback(any(refused)).layer(layer);
    for (path, headers, replayed) in [
        ("/", &[][..], true),
        ("/other", &[], false),
        ("/never", &[], false),
        ("/", &[("fly-replay-src", "region=syd")], false),
        ("/written", &[], false),
        ("/unknown", &[], false),
    ] {
        let answer = request(&app, Method::GET.as_str(), path, headers).await;
        assert_eq!(is_replay(&answer), replayed, "{path} {headers:?}");
        assert!(replayed || answer.status == StatusCode::SERVICE_UNAVAILABLE);
    }
    let without = Router::new().fallback(any(refused)).layer(SessionLayer::new(&world.syd.repo()));
    assert!(!is_replay(&request(&without, "GET", "/", &[]).await));
}

/// The connection ends during the statement.
const UNKNOWN: &str = "insert into counters select 2, 2 from (select pg_terminate_backend(pg_backend_pid())) as gone";

/// The primary itself says 25006.
const READ_ONLY: &str = "do $$ begin raise exception 'read-only' using errcode = '25006'; end $$";
