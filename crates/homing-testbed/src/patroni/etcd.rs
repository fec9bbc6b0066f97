//! The etcd of a cluster, in which its members agree on their leader.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use super::rest;
use crate::error::{Error, Result};
use crate::network::port::Port;
use crate::process::log::LogFile;
use crate::process::scratch::{ProcessKind, Scratch, create_folder};
use crate::process::user::User;
use crate::process::{ChildOutput, Launch, Process};
use crate::wait::within;

/// An etcd of one node.
#[derive(Debug)]
pub(super) struct Etcd {
    clients: Port,
    _peers: Port,
    _process: Process,
}

impl Etcd {
    /// Starts an etcd, and waits until it answers.
    pub(super) async fn start(scratch: &Scratch, user: User) -> Result<Self> {
        let folder = scratch.unique("etcd");
        create_folder(&folder)?;
        user.own(&folder)?;
        let (clients, peers) = (Port::reserve()?, Port::reserve()?);
        let mut command = Command::new("etcd");
        let url = |port: &Port| format!("http://{}", port.address());
        command.arg("--data-dir").arg(folder.join("data")).current_dir(&folder);
        command.args(["--listen-client-urls", &url(&clients), "--advertise-client-urls", &url(&clients)]);
        command.args(["--listen-peer-urls", &url(&peers), "--unsafe-no-fsync", "--log-level", "warn"]);
        let log = LogFile::new(folder.join("etcd.log"));
        let launch =
            Launch { command: &command, kind: ProcessKind::Group, user, output: ChildOutput::Log(log.open()?) };
        let (process, _) = launch.spawn(scratch)?;
        let answers = async {
            tokio::select! {
                () = wait_until_ready(clients.address()) => Ok(()),
                status = process.exited() => Err(Error::exited(format!("etcd ended with {status}:\n{}", log.tail()))),
            }
        };
        within(START_TIMEOUT, "etcd does not answer", answers).await?;
        Ok(Self { clients, _peers: peers, _process: process })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.clients.address()
    }
}

async fn wait_until_ready(address: SocketAddr) {
    while !rest::request(address, "GET", "/health", "").await.is_ok_and(|answer| answer.status == 200) {
        sleep(POLL_INTERVAL).await;
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Longer than a start takes on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
