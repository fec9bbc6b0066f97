//! The examples while a replica or a link fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, StatusCode};
use homing::{Config, Delivery, Fate, OnLag, Repo};
use homing_testbed::{Cut, Traffic, wait_until};
use tower::ServiceExt;

use crate::examples::{axum_handler, consistency, fates, job_token};
use crate::fixture::{Stage, start_node};

#[tokio::test]
async fn consistency_decides_what_a_read_sees() {
    let stage = Stage::alone(consistency::SCHEMA).await;
    let (mine, other) = (impatient(&stage.syd.repo()), stage.iad.repo());
    stage.replica().pause_replay().await.unwrap();
    consistency::deliver(&mine, 10).await.unwrap();
    assert_eq!(consistency::rough_stock(&mine).await.unwrap(), 0);
    assert_eq!(consistency::own_stock(&mine).await.unwrap(), 10);
    consistency::deliver(&other, 5).await.unwrap();
    assert_eq!(consistency::exact_stock(&mine.session()).await.unwrap(), 15);
    assert_eq!(consistency::own_stock(&mine.session()).await.unwrap(), 0, "a session that has seen nothing");
}

#[tokio::test]
async fn job_sees_its_order_on_a_lagging_replica() {
    let stage = Stage::alone(job_token::SCHEMA).await;
    let worker = impatient(&stage.syd.repo());
    stage.replica().pause_replay().await.unwrap();
    let mut job = job_token::place_order(&stage.iad.repo(), "lamp").await.unwrap();
    let sent = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
    assert_eq!(job_token::handle(&worker, &sent).await.unwrap(), "lamp");

    let former = start_node(Config::local(stage.world.primary().database_url(&stage.database))).await;
    job.token = former.repo().token().await.unwrap();
    assert!(worker.with_token(&job.token).unwrap_err().is_token_refused());
    assert_eq!(job_token::handle(&worker, &job).await.unwrap(), "lamp", "with a token of another secret");
}

#[tokio::test]
async fn reservation_survives_every_fate() {
    let stage = Stage::alone(fates::SCHEMA).await;
    let fates = Arc::<Mutex<Vec<_>>>::default();
    let sink = Arc::clone(&fates);
    let repo = stage.syd.repo().with_observer(move |report| sink.lock().unwrap().extend(report.fate));
    let fates = || std::mem::take(&mut *fates.lock().unwrap());
    stage.replica().pause_replay().await.unwrap();
    let strict = impatient(&repo).with_on_lag(OnLag::Fail);
    assert!(fates::reserve(&strict, 1, "Ada").await.unwrap());
    assert_eq!(fates(), [Fate::Committed]);
    stage.replica().resume_replay().await.unwrap();

    // The connection is lost while the insert waits for a lock, and the write is not sent again.
    let repo = repo.with_delivery(Delivery::AtMostOnce);
    let primary = stage.world.primary().connect_to(&stage.database).await.unwrap();
    primary.batch_execute("begin; lock table seats").await.unwrap();
    let link = stage.world.link("syd").only(Traffic::Grpc);
    let (reserved, ()) = tokio::join!(fates::reserve(&repo, 2, "Ada"), async {
        let waiting = "select exists (select from pg_locks where not granted and relation = 'seats'::regclass)";
        wait_until("the insert waits", async || primary.query_one(waiting, &[]).await.unwrap().get(0)).await;
        link.cut(Cut::Reset).await;
        link.heal().await.unwrap();
        primary.batch_execute("commit").await.unwrap();
    });
    assert!(reserved.unwrap());
    assert_eq!(fates().first(), Some(&Fate::OutcomeUnknown));
    let seats = primary.query_one("select count(*) from seats", &[]).await.unwrap();
    assert_eq!(seats.get::<_, i64>(0), 2);

    link.cut(Cut::Reset).await;
    assert!(fates::reserve(&repo, 3, "Ada").await.unwrap_err().is_not_sent());
    // The first attempt may be on its way before the node notices that its connection is gone.
    let fates = fates();
    assert!(fates.len() == 3 && fates[1..] == [Fate::NotSent; 2], "{fates:?}");
    link.heal().await.unwrap();
}

#[tokio::test]
async fn visitor_sees_own_post_anywhere() {
    let stage = Stage::alone("create table posts (id bigserial primary key, text text unique)").await;
    let iad = axum_handler::app(&stage.iad.repo());
    let syd = axum_handler::app(&impatient(&stage.syd.repo()));
    stage.replica().pause_replay().await.unwrap();

    let post = || Request::post("/").body(Body::from("hello")).unwrap();
    let stored = iad.clone().oneshot(post()).await.unwrap();
    assert_eq!(stored.status(), StatusCode::OK);
    let cookie = stored.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    let list = || Request::get("/");
    let with_cookie = list().header(COOKIE, cookie);
    assert_eq!(send(&syd, with_cookie.body(Body::empty()).unwrap()).await, (StatusCode::OK, "hello\n".to_owned()));
    assert_eq!(send(&syd, list().body(Body::empty()).unwrap()).await, (StatusCode::OK, String::new()));
    assert_eq!(send(&syd, post()).await, (StatusCode::CONFLICT, "a value is already taken".to_owned()));

    stage.replica().resume_replay().await.unwrap();
    assert_eq!(send(&syd, Request::get("/healthz").body(Body::empty()).unwrap()).await.0, StatusCode::OK);
}

/// Returns the status and the text of the response.
async fn send(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.into()).unwrap())
}

/// Returns a handle that does not wait long for a replica.
fn impatient(repo: &Repo) -> Repo {
    repo.with_replay_timeout(Duration::from_millis(100))
}
