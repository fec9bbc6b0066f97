//! The server's process, from its start to its end.

use std::{fs, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::wait::within;

/// A server that accepts connections. Its drop ends the server at once.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
}

impl Server {
    /// Starts a server for the first time. Changes the port if another program has taken it.
    pub(super) async fn first_start(cluster: &mut Cluster) -> Result<Self> {
        for _ in 1..MAX_PORTS {
            match Self::start_once(cluster).await {
                Err(Failure::PortTaken(_)) => cluster.change_port()?,
                result => return result.map_err(Failure::into_error),
            }
        }
        Self::start(cluster).await
    }

    /// Starts the server and waits until it accepts connections.
    pub(super) async fn start(cluster: &Cluster) -> Result<Self> {
        let limit = Instant::now() + CHILDREN_TIMEOUT;
        loop {
            match Self::start_once(cluster).await {
                // The children of a killed server take a moment to notice its end.
                Err(Failure::StillInUse(_)) if Instant::now() < limit => sleep(POLL_INTERVAL).await,
                result => return result.map_err(Failure::into_error),
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.process.status().is_some()
    }

    /// Signals the server and waits for its end.
    pub(super) async fn end(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        // A stopped process would not see the signal.
        self.process.signal(Signal::CONT)?;
        self.process.exited().await;
        Ok(())
    }

    async fn start_once(cluster: &Cluster) -> Result<Self, Failure> {
        let log = cluster.log();
        let before = log.position().map_err(Failure::Other)?;
        let process = cluster.spawn_server().map_err(Failure::Other)?;
        tokio::select! {
            ready = wait_until_ready(cluster, process.pid()) => {
                ready.map_err(Failure::Other)?;
                Ok(Self { process })
            }
            status = process.exited() => {
                let printed = log.since(before).unwrap_or_default();
                let message = format!("PostgreSQL ended with {status}:\n{}", log.tail());
                Err(Failure::of(&printed, Error::exited(message)))
            }
        }
    }
}

/// Why a server did not start.
enum Failure {
    PortTaken(Error),
    StillInUse(Error),
    Other(Error),
}

impl Failure {
    /// Reads the reason from the log: PostgreSQL ends with the same code for all of them. With
    /// `LC_ALL=C` its messages are in English.
    fn of(printed: &str, error: Error) -> Self {
        if printed.contains("could not create any TCP/IP sockets") {
            Self::PortTaken(error)
        } else if printed.contains("is still in use") || printed.contains("already exists") {
            Self::StillInUse(error)
        } else {
            Self::Other(error)
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::PortTaken(error) | Self::StillInUse(error) | Self::Other(error) => error,
        }
    }
}

/// Waits as pg_ctl does: the server writes its state into a line of its pid file. Unlike attempts to
/// connect, this leaves no errors in its log.
async fn wait_until_ready(cluster: &Cluster, pid: u32) -> Result<()> {
    let path = cluster.data().join("postmaster.pid");
    let ready = async {
        while !fs::read_to_string(&path).is_ok_and(|text| says_ready(&text, pid)) {
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    let complaint = format!("PostgreSQL at {} does not accept connections", cluster.address());
    within(START_TIMEOUT, &complaint, ready).await
}

/// Returns whether this is the pid file of that server, not of a killed one before it, and has the
/// state `ready`. A replica is ready once it allows reads.
fn says_ready(text: &str, pid: u32) -> bool {
    let mut lines = text.lines();
    let own = lines.next().is_some_and(|line| line.trim() == pid.to_string());
    own && lines.nth(STATUS_LINE - 1).is_some_and(|line| line.trim() == "ready")
}

/// The state is that many lines below the first of `postmaster.pid` (`LOCK_FILE_LINE_PM_STATUS` is
/// line 8).
const STATUS_LINE: usize = 7;

/// On a system that cannot reserve ports, see [`Port`](crate::network::port::Port), another program
/// may take the port first a few times.
const MAX_PORTS: usize = 5;

/// How often the pid file is read; a start takes about 50 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Recovery after a kill may take a while on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the children of a killed server may keep its shared memory. Most of them end at once. Up to PostgreSQL 14, the
/// autovacuum launcher may first wait 10 s for the statistics collector (`PGSTAT_MAX_WAIT_TIME`), which ended with the server,
/// and more than once.
const CHILDREN_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_pid_file_is_ignored() {
        let text = "42\n/data\n1\n5432\n\n127.0.0.1\n  1  2\nready   \n";
        assert!(says_ready(text, 42));
        assert!(!says_ready(text, 43));
        assert!(!says_ready(&text.replace("ready   ", "starting"), 42));
        assert!(!says_ready("42\n", 42));
    }
}
