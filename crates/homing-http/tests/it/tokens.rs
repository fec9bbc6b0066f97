//! Invalid tokens, many tokens, long tokens, and clients that use the header.

use axum::body::Body;
use axum::http::header::{COOKIE, HOST};
use axum::http::{HeaderName, Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use homing_http::{Cookie, RequestInfo, SessionLayer};

use crate::fixture::{Answer, Browser, Servers, World, app, app_with, send};

fn state_app(layer: SessionLayer) -> Router {
    Router::new().route("/", get(async |info: RequestInfo| format!("{:?}", info.token()))).layer(layer)
}

async fn state(app: &Router, headers: &[(HeaderName, &str)]) -> String {
    let mut request = Request::builder().uri("/").header(HOST, "guestbook.example");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let answer = send(app, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.text
}

async fn token_of(world: &World) -> String {
    let mut browser = Browser::default();
    assert_eq!(browser.post(&app(&world.syd.repo()), "/counters/1").await.number(), 1);
    browser.cookie.unwrap()
}

fn token_header() -> HeaderName {
    HeaderName::from_static("homing-token")
}

#[tokio::test]
async fn forged_tokens_are_ignored() {
    let world = World::shared().await;
    let good = token_of(&world).await;
    let ams = app(&world.ams.repo());
    let states = state_app(SessionLayer::new(&world.ams.repo()));
    let other = if good.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{other}", &good[..good.len() - 1]);
    let long = "A".repeat(100_000);
    for bad in ["x", "%00%01", "\"\"", &good[1..], &good[..20], &forged, &long] {
        assert_eq!(
            state(&states, &[(COOKIE, &format!("homing-token={bad}"))]).await,
            if bad == long { "Absent" } else { "Refused" }
        );
        let mut browser = Browser::with_cookie(bad);
        assert_eq!(browser.get(&ams, "/counters/99").await.number(), 0);
        assert_eq!(browser.post(&ams, "/counters/98").await.status, StatusCode::OK);
        assert_ne!(browser.cookie.as_deref(), Some(bad), "a write replaces it");
        let delete = "delete from counters where id = 98";
        world.primary.batch_execute(delete).await.unwrap();
    }
    assert_eq!(state(&states, &[]).await, "Absent");
    assert_eq!(state(&states, &[(COOKIE, &format!("homing-token={good}"))]).await, "Taken");
}

/// A node without a replica learns it only from the primary.
#[tokio::test]
async fn foreign_tokens_are_ignored() {
    let (world, elsewhere) = (World::shared().await, Servers::start().await);
    let other = elsewhere.world().await;
    let foreign = token_of(&other).await;
    let nowhere = world.node_without_database("fra").await;
    for (node, path) in [(&world.syd, "/counters/1"), (&nowhere, "/counters/2")] {
        let mut browser = Browser::with_cookie(&foreign);
        let app = app(&node.repo());
        assert_eq!(browser.get(&app, path).await.number(), 0);
        assert_eq!(browser.post(&app, path).await.number(), 1);
        assert_ne!(browser.cookie.as_deref(), Some(&*foreign));
        assert_eq!(browser.get(&app, path).await.number(), 1);
    }
}

#[tokio::test]
async fn first_four_tokens_count() {
    let world = World::shared().await;
    let good = token_of(&world).await;
    let states = state_app(SessionLayer::new(&world.ams.repo()));
    let cookies = |before: usize| {
        let bad = (0..before).map(|number| format!("homing-token=bad{number}; "));
        bad.collect::<String>() + &format!("homing-token={good}")
    };
    assert_eq!(state(&states, &[(COOKIE, &cookies(3))]).await, "Taken");
    assert_eq!(state(&states, &[(COOKIE, &cookies(4))]).await, "Refused", "at most four are looked at");
    assert_eq!(state(&states, &[(COOKIE, &"a=b; ".repeat(10_000))]).await, "Absent");
    let cookie = format!("homing-token={good}");
    assert_eq!(state(&states, &[(token_header(), "bad"), (COOKIE, &cookie)]).await, "Taken");
    assert_eq!(state(&states, &[(token_header(), &good)]).await, "Taken");
    assert_eq!(state(&states, &[(COOKIE, &format!("xhoming-token={good}"))]).await, "Absent");
}

#[tokio::test]
async fn header_clients_get_header_only() {
    let world = World::shared().await;
    let syd = app(&world.syd.repo());
    let post = async |app: &Router, header: Option<&str>| -> Answer {
        let mut request = Request::builder().method("POST").uri("/counters/1");
        if let Some(token) = header {
            request = request.header("homing-token", token);
        }
        send(app, request.body(Body::empty()).unwrap()).await
    };
    for (app, header, answered) in [
        (&syd, None, (true, true)),
        (&syd, Some(""), (true, false)),
        (&syd, Some("forged"), (true, false)),
        (&app_with(SessionLayer::new(&world.syd.repo()).without_cookie()), None, (true, false)),
        (&app_with(SessionLayer::new(&world.syd.repo()).without_header()), Some(""), (false, true)),
    ] {
        let answer = post(app, header).await;
        let (by_header, by_cookie) = (answer.headers.contains_key("homing-token"), answer.cookie().is_some());
        assert_eq!((by_header, by_cookie), answered, "{header:?}");
    }
}

#[tokio::test]
async fn cookie_has_configured_attributes() {
    let world = World::shared().await;
    let layer = || SessionLayer::new(&world.iad.repo());
    let named = layer().with_cookie(Cookie::named("__Host-seen").unwrap());
    let set = async |app: &Router, host: &str| {
        let request = Request::builder().method("POST").uri("/counters/5").header(HOST, host);
        let answer = send(app, request.body(Body::empty()).unwrap()).await;
        let line = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        let (name, rest) = line.split_once('=').unwrap();
        (name.to_owned(), rest.split_once("; ").unwrap().1.to_owned())
    };
    let attributes = "Path=/; Max-Age=300; HttpOnly; SameSite=Lax";
    for (layer, host, name, secure) in [
        (layer(), "guestbook.example", "homing-token", "; Secure"),
        (layer(), "localhost:8080", "homing-token", ""),
        (named, "localhost:8080", "__Host-seen", "; Secure"),
    ] {
        let found = set(&app_with(layer), host).await;
        assert_eq!(found, (name.to_owned(), format!("{attributes}{secure}")), "{host}");
    }
}

#[tokio::test]
async fn shared_responses_get_no_token() {
    let world = World::shared().await;
    async fn write(
        Extension(control): Extension<&'static str>,
        repo: homing_http::RequestRepo,
    ) -> [(&'static str, &'static str); 1] {
        repo.execute("insert into counters values ($1, 1)", &[&rand::random::<i64>()]).await.unwrap();
        [("cache-control", control)]
    }
    for (control, by_get, added) in [
        ("public, max-age=60", false, false),
        ("s-maxage=5", false, false),
        ("no-store", true, false),
        ("private, max-age=60", true, false),
        // Shared caches may keep these too.
        ("max-age=60", true, true),
        ("no-cache", true, true),
    ] {
        let app = Router::new()
            .route("/", get(write).post(write))
            .layer(SessionLayer::new(&world.iad.repo()))
            .layer(Extension(control));
        let mut browser = Browser::default();
        let answer = browser.get(&app, "/").await;
        assert_eq!(answer.cookie().is_some(), by_get, "{control}");
        let said: Vec<_> = answer.headers.get_all("cache-control").iter().map(|line| line.to_str().unwrap()).collect();
        assert_eq!(said, if added { vec![control, "private"] } else { vec![control] });
        assert!(browser.post(&app, "/").await.cookie().is_some(), "{control}");
    }
}

#[tokio::test]
async fn failed_request_keeps_committed_token() {
    let world = World::shared().await;
    let handler = async |repo: homing_http::RequestRepo| {
        repo.execute("insert into counters values (77, 1)", &[]).await.unwrap();
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let app = Router::new().route("/", get(handler)).layer(SessionLayer::new(&world.syd.repo()));
    let answer = Browser::default().get(&app, "/").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.cookie().is_some());
}
