//! Bodies and upgrades pass through; other stacks than axum work too.

use std::convert::Infallible;
use std::task::Poll;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use homing_http::{RequestInfo, RequestRepo, SessionLayer, TokenState};
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};

use crate::fixture::{PATIENCE, World, text};

/// The head of the response arrives before its body is complete, and writes of the body are in no token.
#[tokio::test]
async fn streamed_body_does_not_delay_response() {
    let world = World::shared().await;
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = std::sync::Mutex::new(Some(receiver));
    let handler = async move |RequestRepo(repo): RequestRepo| {
        repo.execute("insert into counters values (1, 1)", &[]).await.unwrap();
        let mut receiver = receiver.lock().unwrap().take().unwrap();
        let events = futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|event| {
                event.map(|event| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(event.as_bytes()))))
            })
        });
        Body::new(StreamBody::new(events))
    };
    let handler = std::sync::Arc::new(handler);
    let route = get(move |repo: RequestRepo| {
        let handler = std::sync::Arc::clone(&handler);
        async move { handler(repo).await }
    });
    let app = Router::new().route("/events", route).layer(SessionLayer::new(&world.syd.repo()));
    let request = Request::get("/events").body(Body::empty()).unwrap();
    let mut response = timeout(PATIENCE, app.oneshot(request)).await.unwrap().unwrap();
    assert!(response.headers().contains_key("set-cookie"));
    for event in ["first", "second"] {
        sender.send(event).await.unwrap();
        let frame = timeout(PATIENCE, response.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
}

/// A service like hyper's, with its own bodies and without axum.
#[tokio::test]
async fn any_tower_service_gets_session() {
    let world = World::shared().await;
    let service = service_fn(async |request: Request<Empty<Bytes>>| {
        let repo = request.extensions().get::<RequestRepo>().unwrap();
        let info = request.extensions().get::<RequestInfo>().unwrap();
        assert_eq!((info.region().as_str(), info.primary_region().as_str()), ("syd", "iad"));
        assert_eq!(info.token(), TokenState::Absent);
        repo.execute("insert into counters values (2, 1)", &[]).await.unwrap();
        assert_eq!((info.call_count(), info.reports().len()), (1, 1));
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        response.extensions_mut().insert("of the upgrade");
        Ok::<_, Infallible>(response)
    });
    let service = SessionLayer::new(&world.syd.repo()).layer(service);
    let response = service.oneshot(Request::new(Empty::new())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(text(&response, "upgrade").unwrap(), "websocket");
    assert_eq!(response.extensions().get::<&str>(), Some(&"of the upgrade"));
    assert!(text(&response, "set-cookie").unwrap().ends_with("; Secure"), "no host, so nothing is known");
}

#[tokio::test]
async fn reports_are_bounded_and_counted() {
    let world = World::shared().await;
    let handler = async |RequestRepo(repo): RequestRepo, info: RequestInfo| {
        for _ in 0..70 {
            repo.query("select 1", &[]).await.unwrap();
        }
        format!("{} {}", info.reports().len(), info.call_count())
    };
    let app = Router::new().route("/", get(handler)).layer(SessionLayer::new(&world.syd.repo()));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let body = app.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "64 70");
}

#[tokio::test]
async fn busy_service_is_awaited() {
    let world = World::shared().await;
    let mut service = SessionLayer::new(&world.syd.repo()).layer(Busy { asked: 0 });
    let ready = std::future::poll_fn(|context| tower::Service::<Request<()>>::poll_ready(&mut service, context));
    timeout(PATIENCE, ready).await.unwrap().unwrap();
    let error = tower::Service::call(&mut service, Request::new(())).await.unwrap_err();
    assert_eq!(error, "as a test");
}

struct Busy {
    asked: u32,
}

impl tower::Service<Request<()>> for Busy {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), &'static str>> {
        self.asked += 1;
        if self.asked > 1 {
            return Poll::Ready(Ok(()));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.asked > 1);
        std::future::ready(Err("as a test"))
    }
}
