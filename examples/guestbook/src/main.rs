//! A guestbook in many regions. Its page shows what happens: the local replica answers reads, and writes travel to
//! the primary region.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run -p guestbook
//! ```
//!
//! Alone, it is its own primary. `cargo xtask demo --serve` runs four of them in three regions.
//!
//! | command | what it does |
//! |---|---|
//! | `guestbook migrate` | brings the tables up to date, and ends; for the primary region |
//! | `guestbook serve` | serves pages and peers; it starts without its database too |
//! | `guestbook` | both, one after the other; outside the primary region the second only |

mod entry;
mod failure;
mod functions;
mod pages;

use std::env;
use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use dashboard::{Dashboard, how_is_it};
use homing::{Config, Node};
use homing_http::{Health, Prometheus};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use crate::functions::sign_many;
use crate::pages::App;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(stderr().is_terminal()).with_writer(stderr).init();

    let mut config = Config::from_env()?;
    config.options.replay_timeout = REPLAY_TIMEOUT;
    let (command, is_primary_region) = (env::args().nth(1), config.topology.is_primary_region());
    match command.as_deref() {
        None if is_primary_region => migrate(&config).await?,
        None | Some("serve") => {}
        Some("migrate") if is_primary_region => return Ok(migrate(&config).await?),
        Some("migrate") => return Err("the tables are in the primary region: run migrate there".into()),
        Some(other) => return Err(format!("unknown command {other:?}: write migrate, serve or no command").into()),
    }
    serve(config).await
}

/// Brings the tables up to date. It does not listen for peers: their calls would meet tables that are older than the code.
async fn migrate(config: &Config) -> homing::Result<()> {
    let mut config = config.clone();
    config.listen = None;
    let node = Node::with_config(config).start().await?;
    entry::migrate(&node.repo()).await
}

/// Serves pages and peers until the process is told to end.
async fn serve(config: Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    let dashboard = Dashboard::new(&config.topology);
    let observer = dashboard.clone();
    let node = Node::with_config(config).register(sign_many).register(how_is_it);
    let node = node.with_observer(move |report| observer.observe(report)).start().await?;
    let repo = node.repo();

    let health = Health::new(&repo);
    if let Ok(listen) = env::var("GUESTBOOK_METRICS_LISTEN") {
        // An address of its own: visitors of the page need not see the numbers.
        let metrics = Prometheus::install()?.with_health(health.clone()).with_refusals(node.refusals());
        let router = Router::new().route_service("/metrics", metrics);
        tokio::spawn(axum::serve(TcpListener::bind(listen).await?, router).into_future());
    }
    let watcher = tokio::spawn(dashboard.clone().run(repo.clone()));
    let router = pages::router(App { repo, dashboard: dashboard.clone() }).route_service("/healthz", health);
    // Whether the process answers, whatever its database does: a restart would not mend a database.
    let router = router.route("/livez", get("ok"));
    let listen = env::var("GUESTBOOK_LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(listen).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("ready http={}", listener.local_addr()?);
    let (stop, stopping) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopping.await) });
    let serving = tokio::spawn(serving.into_future());
    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }

    dashboard.close();
    drop(stop);
    // Browsers and peers at the same time, and neither forever. A second signal ends the process at once.
    let ending = async { tokio::join!(timeout(DRAIN_TIMEOUT, serving), node.shutdown()) };
    tokio::select! { _ = ending => {} _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    watcher.abort();
    Ok(())
}

/// How long a visitor waits at most for a replica that does not replay.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest request takes ten seconds: fifty round trips to Sydney.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
