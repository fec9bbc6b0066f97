//! A directory of users as a JSON web application that runs in many regions: the local replica answers
//! reads, and writes travel to the primary region.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres PORT=8080 cargo run -p directory
//! curl -d '{"name": "Ada", "age": 36}' -H 'content-type: application/json' http://127.0.0.1:8080/users
//! ```
//!
//! Alone, it is its own primary. `cargo xtask demo` runs four of them in three regions.

mod call;
mod failure;
mod functions;
mod routes;
mod user;

use std::env;
use std::error::Error;
use std::io::IsTerminal;

use homing::Node;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::functions::import;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();

    let node = Node::from_env()?.register(import).start().await?;
    let repo = node.repo();
    if repo.region() == repo.primary_region() {
        repo.batch_execute(user::SCHEMA).await?;
    }

    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("{host}:{port}")).await?;
    let stopped = stop_signal()?;
    println!("ready http={}", listener.local_addr()?);

    axum::serve(listener, routes::router(repo)).with_graceful_shutdown(stopped).await?;
    node.shutdown().await;
    Ok(())
}

/// Completes at Ctrl-C or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, std::io::Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
