//! `cargo xtask demo --serve`: the guestbook in all regions, until Ctrl-C.

mod control;
mod stage;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use homing_testbed::Binaries;
use tokio::net::TcpListener;

use self::stage::Stage;
use crate::interrupt::{Interrupt, interrupted};
use crate::output::console::Console;
use crate::program::{Profile, build};
use crate::scene::THREE_REGIONS;

/// Builds and starts everything, prints the addresses, and ends everything on Ctrl-C.
pub(crate) fn run() -> Result<ExitCode> {
    let binaries = Binaries::find()?;
    eprintln!("Building examples/guestbook");
    let program = build("guestbook", Profile::Dev)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&program, binaries))
}

async fn serve(program: &std::path::Path, binaries: Binaries) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    let console = Console::new();
    console.progress("starting databases, links and nodes");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let control = format!("http://{}", listener.local_addr()?);
    let stage = interrupt.or(Stage::start(&THREE_REGIONS, program, binaries, &control)).await;
    let Some(stage) = stage.transpose().context("the regions cannot be started")? else { return Ok(interrupted()) };
    let stage = Arc::new(stage);
    print_addresses(&console, &stage, &control);
    let server = tokio::spawn(control::serve(listener, Arc::clone(&stage)));
    interrupt.wait().await;
    eprintln!("\nending everything");
    server.abort();
    // Orders that still run hold the stage. They are dropped with the runtime, and the stage with the last of them.
    let _ = server.await;
    if let Some(stage) = Arc::into_inner(stage) {
        stage.end().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints how to reach the pages, the databases, and the control address. Programs read the last line.
fn print_addresses(console: &Console, stage: &Stage, control: &str) {
    console.heading("The guestbook in three regions. Open several:");
    for place in &THREE_REGIONS {
        let region = place.region;
        let distance = if place.is_primary() {
            String::new()
        } else {
            format!(", {} from {}", place.round_trip_shown(), THREE_REGIONS[0].region)
        };
        console.heading(&format!("  {region}: {}{distance}", place.role()));
        for node in stage.nodes(region) {
            console.line(format!("  {}", node.url));
        }
        console.line(format!("  psql {}", stage.database_url(region)));
    }
    console.heading("What the page's buttons do, from a terminal:");
    console.line(format!("  curl {control}/state"));
    console.line(format!("  curl -X POST {control}/links/syd/cut       # open"));
    console.line(format!("  curl -X POST {control}/peers/iad-1/stop    # start"));
    console.heading("Ctrl-C ends it and removes everything.");
    println!("ready control={control}");
}
