//! What is used up, locked or set wrong: pools, connections, disks, tables, clocks.

use anyhow::{Context, Result};
use homing_testbed::{Postgres, Shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use super::stage::Trouble;
use crate::faults::scene::{PRIMARY, Scene, faketime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceFault {
    PoolsExhausted,
    ConnectionsExhausted,
    LongLock,
    DiskFull,
    ClockMoved,
}

impl ResourceFault {
    pub(super) fn skipped(self) -> Option<&'static str> {
        match self {
            Self::ClockMoved if faketime().is_none() => Some("libfaketime is not installed"),
            _ => None,
        }
    }

    pub(super) async fn start(self, scene: &Scene, victim: usize) -> Result<Trouble> {
        let mut trouble = Trouble::of(victim);
        let primary = scene.world().primary();
        match self {
            Self::PoolsExhausted => {
                for node in scene.nodes().iter().filter(|node| victim.is_multiple_of(2) || node.region == PRIMARY) {
                    let pid = Pid::from_raw(node.process.pid().await.cast_signed()).context("a node has a number")?;
                    kill_process(pid, Signal::USR1)?;
                }
            }
            Self::ConnectionsExhausted => trouble.connections = exhaust(primary).await,
            Self::LongLock => {
                trouble.begin_outage(None);
                let client = primary.connect().await?;
                let mode = if victim.is_multiple_of(2) { "share" } else { "access exclusive" };
                client.batch_execute(&format!("begin; lock table entries in {mode} mode")).await?;
                trouble.connections.push(client);
            }
            Self::DiskFull => {
                trouble.begin_outage(None);
                let size = fill(&primary.connect().await?).await?;
                primary.limit_files(Some(size));
                restart(primary).await?;
            }
            Self::ClockMoved => {
                let clock = scene.clock().context("libfaketime is not installed")?;
                std::fs::write(clock, CLOCKS[victim % CLOCKS.len()])?;
            }
        }
        Ok(trouble)
    }

    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        match self {
            Self::PoolsExhausted => {}
            Self::ConnectionsExhausted | Self::LongLock => trouble.connections.clear(),
            Self::DiskFull => {
                scene.world().primary().limit_files(None);
                restart(scene.world().primary()).await?;
            }
            Self::ClockMoved => std::fs::write(scene.clock().context("libfaketime is not installed")?, "+0\n")?,
        }
        trouble.end_outages();
        Ok(())
    }
}

async fn restart(server: &Postgres) -> Result<()> {
    server.stop(Shutdown::Fast).await?;
    Ok(server.start_again().await?)
}

/// Opens connections until the server refuses more, and closes those of others so that they have to be opened again.
async fn exhaust(server: &Postgres) -> Vec<Client> {
    let mut clients = Vec::new();
    while let Ok(client) = server.connect().await {
        clients.push(client);
    }
    clients
}

/// Makes the file of the entries larger than a file of the log, which is written too, and returns a size that leaves no room
/// for entries.
async fn fill(client: &Client) -> Result<u64> {
    client.batch_execute(FILLER).await?;
    let size = client.query_one("select pg_relation_size('entries')", &[]).await?.try_get::<_, i64>(0)?;
    Ok(size.unsigned_abs())
}

/// Four of these rows fill a page but for some bytes, and PostgreSQL compresses none of them. They belong to the register `filler`.
const FILLER: &str = "
    do $$
    begin
        if pg_relation_size('entries') < 20 * 1024 * 1024 then
            insert into entries (register, caller, number)
            select 'filler', repeat('x', 1972), number from generate_series(1, 11000) number;
        end if;
    end $$";

/// How far the clock of a node is moved.
const CLOCKS: [&str; 4] = ["+1h\n", "-1h\n", "+400d\n", "-30s\n"];
