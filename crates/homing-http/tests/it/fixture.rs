//! Three regions, each with a node of this process and a small web application, and browsers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{COOKIE, HOST, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::routing::get;
use homing::{Config, Entity, Node, Region, Repo, Secret, Topology};
use homing_http::{RequestRepo, SessionLayer};
use homing_rpc::StaticPeers;
use homing_testbed::{Fsync, Postgres};
use http_body_util::BodyExt;
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use tower::ServiceExt;

const SECRET: &str = "a-secret-of-the-tests-long-enough";

/// Servers that tests share, each test with its own database, unless a test pauses or stops a server.
static SHARED: OnceCell<Servers> = OnceCell::const_new();

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A primary in `iad`, and replicas in `syd` and `ams`. The replica in `ams` is always a little late.
pub(crate) struct Servers {
    pub(crate) iad: Postgres,
    pub(crate) syd: Postgres,
    pub(crate) ams: Postgres,
}

/// A database on all servers, and a node in each region.
pub(crate) struct World {
    pub(crate) iad: Node,
    pub(crate) syd: Node,
    pub(crate) ams: Node,
    pub(crate) primary: Client,
    pub(crate) database: String,
}

impl Servers {
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    pub(crate) async fn start() -> Self {
        // Thousands of writes, none of which has to survive a crash of the machine.
        let options = |name: &str| Postgres::options().with_name(name).with_max_connections(200).with_fsync(Fsync::Off);
        let iad = options("iad").start().await.unwrap();
        let late = options("ams").with_setting("recovery_min_apply_delay", "30ms");
        let (syd, ams) = tokio::join!(options("syd").start_replica_of(&iad), late.start_replica_of(&iad));
        Self { iad, syd: syd.unwrap(), ams: ams.unwrap() }
    }

    pub(crate) async fn world(&self) -> World {
        let database = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.iad.create_database(&database).await.unwrap();
        let primary = self.iad.connect_to(&database).await.unwrap();
        let table = "create table counters (id bigint primary key, value bigint not null)";
        primary.batch_execute(table).await.unwrap();
        self.syd.caught_up_with(&self.iad).await.unwrap();
        self.ams.caught_up_with(&self.iad).await.unwrap();
        let mut config = config("iad");
        config.database_url = Some(self.iad.database_url(&database));
        config.listen = Some(([127, 0, 0, 1], 0).into());
        let iad = Node::with_config(config).start().await.unwrap();
        let peers = StaticPeers::none().with_region(region("iad"), iad.local_addr());
        let syd = node("syd", Some(self.syd.database_url(&database)), &peers).await;
        let ams = node("ams", Some(self.ams.database_url(&database)), &peers).await;
        World { iad, syd, ams, primary, database }
    }
}

impl World {
    pub(crate) async fn shared() -> Self {
        Servers::shared().await.world().await
    }

    /// One more node.
    pub(crate) async fn node(&self, name: &str, replica_url: Option<String>) -> Node {
        let peers = StaticPeers::none().with_region(region("iad"), self.iad.local_addr());
        node(name, replica_url, &peers).await
    }

    pub(crate) async fn node_without_database(&self, name: &str) -> Node {
        self.node(name, None).await
    }
}

async fn node(name: &str, replica_url: Option<String>, peers: &StaticPeers) -> Node {
    let mut config = config(name);
    config.replica_url = replica_url;
    config.discover = Arc::new(peers.clone());
    Node::with_config(config).start().await.unwrap()
}

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn config(name: &str) -> Config {
    let mut config = Config::new(Topology::new(region(name), region("iad")));
    config.secret = Some(Secret::new(SECRET).unwrap());
    config.pool_size = 8;
    config
}

#[derive(Debug, Entity)]
#[entity(table = "counters")]
struct Counter {
    #[entity(key)]
    id: i64,
    value: i64,
}

/// A web application with counters: `POST` adds one, `GET` reads.
pub(crate) fn app(repo: &Repo) -> Router {
    app_with(SessionLayer::new(repo))
}

pub(crate) fn app_with(layer: SessionLayer) -> Router {
    Router::new()
        .route("/counters/{id}", get(read).post(add))
        .route("/counters", get(sum))
        .route("/nothing", get(async || "nothing"))
        .layer(layer)
}

async fn add(RequestRepo(repo): RequestRepo, Path(id): Path<i64>) -> Result<String, StatusCode> {
    let sql = "insert into counters values ($1, 1) on conflict (id) do update set value = counters.value + 1
        returning value";
    let row = repo.query_one(sql, &[&id]).await.map_err(failed)?;
    Ok(row.get::<_, i64>("value").to_string())
}

async fn read(RequestRepo(repo): RequestRepo, Path(id): Path<i64>) -> Result<String, StatusCode> {
    let counter = repo.get::<Counter>(id).await.map_err(failed)?;
    Ok(counter.map_or(0, |counter| counter.value).to_string())
}

/// Reads with raw SQL.
async fn sum(RequestRepo(repo): RequestRepo) -> Result<String, StatusCode> {
    let row = repo.query_one("select coalesce(sum(value), 0)::int8 from counters", &[]).await.map_err(failed)?;
    Ok(row.get::<_, i64>(0).to_string())
}

pub(crate) fn failed(error: homing::Error) -> StatusCode {
    eprintln!("{error:?}");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// A visitor with a cookie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn with_cookie(cookie: impl Into<String>) -> Self {
        Self { cookie: Some(cookie.into()) }
    }

    pub(crate) async fn get(&mut self, app: &Router, path: &str) -> Answer {
        self.send(app, Method::GET, path).await
    }

    pub(crate) async fn post(&mut self, app: &Router, path: &str) -> Answer {
        self.send(app, Method::POST, path).await
    }

    pub(crate) async fn send(&mut self, app: &Router, method: Method, path: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "guestbook.example");
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, format!("theme=dark; homing-token={cookie}"));
        }
        let answer = send(app, request.body(Body::empty()).unwrap()).await;
        if let Some(token) = answer.cookie() {
            self.cookie = Some(token);
        }
        answer
    }
}

impl Answer {
    /// Returns the token in the `Set-Cookie`.
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self.headers.get(SET_COOKIE)?.to_str().unwrap();
        let (name, rest) = line.split_once('=').unwrap();
        assert_eq!(name, "homing-token");
        Some(rest.split(';').next().unwrap().to_owned())
    }

    pub(crate) fn number(&self) -> i64 {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.text.parse().unwrap()
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(text.to_vec()).unwrap() }
}

/// Returns a header of a response, for services that are not axum's.
pub(crate) fn text<B>(response: &Response<B>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().unwrap().to_owned())
}

/// Far longer than anything that a test waits for: if it runs out, something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
