//! A guestbook in many regions. Its page shows what happens: reads are answered here, writes fly home.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run -p guestbook
//! ```
//!
//! Alone, it is its own primary. `cargo xtask demo --serve` runs four of them in three regions.

mod control;
mod entry;
mod failure;
mod functions;
mod guard;
mod live;
mod map;
mod pages;
mod watch;

use std::env;
use std::error::Error;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use homing::{Config, Node};
use homing_http::{Health, Prometheus};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::control::Control;
use crate::functions::{how_is_it, sign_many};
use crate::live::Live;
use crate::pages::App;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    let control = env::var("GUESTBOOK_CONTROL").ok().filter(|url| !url.is_empty()).map(|url| Control::new(&url));
    let listen = env::var("GUESTBOOK_LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());

    let mut config = Config::from_env()?;
    config.options.replay_timeout = REPLAY_TIMEOUT;
    let live = Arc::new(Live::new(config.topology.region().to_string(), config.topology.primary_region().to_string()));
    let observer = Arc::clone(&live);
    let node = Node::with_config(config)
        .register(sign_many)
        .register(how_is_it)
        .with_observer(move |report| observer.observe(report))
        .start()
        .await?;
    let repo = node.repo();
    if repo.region() == repo.primary_region() {
        entry::migrate(&repo).await?;
    }

    let health = Health::new(&repo);
    let metrics = Prometheus::install()?.with_health(health.clone());
    let app = App { repo, live: Arc::clone(&live), control };
    let router = pages::router(app.clone()).route_service("/healthz", health).route_service("/metrics", metrics);
    let listener = TcpListener::bind(listen).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    println!("ready http={}", listener.local_addr()?);
    let watcher = tokio::spawn(watch::run(app));
    let stopping = async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        // Streams to browsers have no end of their own.
        live.close();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopping).await?;
    watcher.abort();
    node.shutdown().await;
    Ok(())
}

/// Who looks at the page waits no longer than this for a replica that does not replay.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(1);
