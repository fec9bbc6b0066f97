//! A node of the application that the suite breaks: callers in its process write and read, and its journal says how it went.

mod callers;
mod reads;
mod sabotage;
mod settings;
pub(super) mod tables;
mod writes;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use homing::{Node, Repo, Wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use self::callers::{CALLERS, Caller, Process};
pub(super) use self::sabotage::Sabotage;
pub(super) use self::settings::NodeSettings;
use self::writes::{append, transfer};

/// Runs a node until SIGTERM. SIGUSR1 makes it hold its transactions.
#[derive(Debug, clap::Args)]
pub(crate) struct FaultsNode;

impl FaultsNode {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let settings = NodeSettings::from_env()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(run(settings))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn run(settings: NodeSettings) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hold = signal(SignalKind::user_defined1())?;
    let node = Node::from_env()?.register(append).register(transfer).start().await?;
    let process = Arc::new(Process::new(settings)?);
    let (stop, stopped) = watch::channel(false);
    let mut callers = JoinSet::new();
    for session in 0..CALLERS / 2 {
        // Half of the sessions do not wait for the replay of a write: their reads have to.
        let wait = if session.is_multiple_of(2) { Wait::Now } else { Wait::AtNextRead };
        let repo = node.repo().session().with_wait(wait);
        for number in [2 * session, 2 * session + 1] {
            callers.spawn(Caller::new(Arc::clone(&process), repo.clone(), number).run(stopped.clone()));
        }
    }
    println!("ready to write");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hold.recv() => hold_transactions(&node.repo(), &mut callers),
            Some(ended) = callers.join_next() => ended.context("a caller panicked")??,
        }
    }
    stop.send_replace(true);
    while let Some(ended) = callers.join_next().await {
        ended.context("a caller panicked")??;
    }
    node.shutdown().await;
    Ok(())
}

/// Opens more transactions than a pool has connections, and holds them.
fn hold_transactions(repo: &Repo, tasks: &mut JoinSet<Result<()>>) {
    for _ in 0..HELD_TRANSACTIONS {
        let repo = repo.session();
        tasks.spawn(async move {
            // Those that get no connection in time fail, and that is the purpose.
            let _ =
                repo.transaction(|tx| async move { tx.execute("select pg_sleep($1)", &[&HOLD_SECONDS]).await }).await;
            Ok(())
        });
    }
}

/// More than the pool of a server has connections.
const HELD_TRANSACTIONS: usize = 20;

/// Less than a call may take.
const HOLD_SECONDS: f64 = 3.0;
