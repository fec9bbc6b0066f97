//! A node of the application that the bench measures: its calls run in this process, where nothing stands between them and
//! Homing.

mod caller;
mod driver;
mod orders;
mod pool;
mod replays;
mod tables;

use std::process::ExitCode;

use anyhow::{Context, Result};
use homing::Node;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use self::caller::Places;
use self::orders::Orders;
use self::tables::{import, nothing};
use super::order::Order;

/// Runs a node until its one client has gone.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchNode;

impl BenchNode {
    pub(crate) fn run(self) -> Result<ExitCode> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn serve() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let database = |name: &str| -> Result<_> {
        let url = std::env::var(name).with_context(|| format!("{name} is not set"))?;
        Ok(url.parse()?)
    };
    let places = Places { direct: database(DIRECT)?, own: database(OWN)? };
    let pool = pool::pool(places.direct.clone())?;
    let node = Node::from_env()?.register(import).register(nothing).start().await?;
    let mut orders = Orders::new(node.repo(), pool, places);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready control={}", listener.local_addr()?);
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let order: Order = serde_json::from_str(&line)?;
        // The error goes to the one who gave the order.
        let answer = orders.obey(order).await.map_err(|error| format!("{error:#}"));
        writer.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await?;
    }
    node.shutdown().await;
    Ok(())
}

/// The address of the primary's database over the link of this node.
pub(super) const DIRECT: &str = "BENCH_DIRECT";

/// The address of the node's own database.
pub(super) const OWN: &str = "BENCH_OWN";
