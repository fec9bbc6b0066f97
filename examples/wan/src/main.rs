//! The distance between the regions of `docker-compose.yml`, which its page can cut.
//!
//! There is no way to slow a container's network down that every machine's kernel has. So each thing that other regions
//! reach is reached through a *gate*: a container with this program, which has the thing's name in their networks, and
//! relays with latency.
//!
//! ```sh
//! # What connects to port 4750 here gets to iad-1, as from 200 ms away, while the link of syd is open.
//! wan --control 127.0.0.1:7070 --peer iad-1 "0.0.0.0:4750 iad-1:4750 200ms syd"
//! curl http://127.0.0.1:7070/state
//! curl -X POST http://127.0.0.1:7070/links/syd/cut
//! ```
//!
//! One more of them, started with `--gate` for each of the others, speaks for all.

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

/// Relays with the latency of a long way, and an HTTP address to cut them at.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to serve the state and take orders
    #[arg(long, value_name = "ADDRESS")]
    control: SocketAddr,

    /// The control address of another of these programs, whose relays this one speaks for too
    #[arg(long = "gate", value_name = "HOST:PORT")]
    gates: Vec<String>,

    /// A host of the targets that can be stopped: its relays refuse connections then
    #[arg(long = "peer", value_name = "HOST")]
    peers: Vec<String>,

    /// Where people find the page of a region, printed at the start
    #[arg(long = "page", value_name = "REGION=URL")]
    pages: Vec<Page>,

    /// What is relayed: `LISTEN TARGET[,TARGET...] [ROUND_TRIP [LINK]]`
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
    // Not gracefully: whoever waits for an answer from here can ask again, and docker waits for the end.
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
