//! The distances between the regions of `docker-compose.yml`, with links that its page can cut.
//!
//! Not every kernel can slow a container's network down. So other regions reach a node or a database through a *gate*: a
//! container with this program, which has that server's name in their networks and relays with latency.
//!
//! ```sh
//! # Connections to port 4750 reach iad-1 with a round trip of 200 ms, while the link of syd is open.
//! wan --control 127.0.0.1:7070 --peer iad-1 "0.0.0.0:4750 iad-1:4750 200ms syd"
//! curl http://127.0.0.1:7070/state
//! curl -X POST http://127.0.0.1:7070/links/syd/cut
//! ```
//!
//! One more such program, started with `--gate` for each gate, answers for all of them.

mod control;
mod gates;
mod route;
mod routes;
mod state;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::Control;
use crate::gates::Gates;
use crate::route::Route;
use crate::routes::Routes;
use crate::state::Page;

/// Relays with latency, and an HTTP address that cuts them.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address for reading the state and giving orders
    #[arg(long, value_name = "ADDRESS")]
    control: SocketAddr,

    /// The control address of another such program, for whose relays this one answers too
    #[arg(long = "gate", value_name = "HOST:PORT")]
    gates: Vec<String>,

    /// The host of a target that can be stopped; its relays then refuse connections
    #[arg(long = "peer", value_name = "HOST")]
    peers: Vec<String>,

    /// The page of a region, printed when the program starts
    #[arg(long = "page", value_name = "REGION=URL")]
    pages: Vec<Page>,

    /// A relay: `LISTEN TARGET[,TARGET...] [ROUND_TRIP [LINK]]`
    #[arg(value_name = "ROUTE")]
    routes: Vec<Route>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stopped = stop_signal()?;
    let listener = TcpListener::bind(arguments.control)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.control))?;
    let routes = Routes::start(arguments.routes, &arguments.peers).await?;
    for page in &arguments.pages {
        println!("{page}");
    }
    let control = Control::new(routes, Gates::new(arguments.gates), arguments.pages);
    // Not gracefully: docker waits for this program to end, and clients can ask again.
    tokio::select! {
        served = axum::serve(listener, control::router(control)) => served?,
        () = stopped => {}
    }
    Ok(())
}

/// Completes at Ctrl-C or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
