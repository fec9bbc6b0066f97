//! The task of a relay.
//!
//! [`Relay::start`](super::Relay::start) spawns it on the network's thread. It owns the listener and
//! the tasks of the connections. Its queue holds at most eight commands (`QUEUE_CAPACITY`); each
//! carries a channel for the reply. The task ends when the last handle is dropped, and a panic in a
//! connection goes on in it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::conditions::LinkConditions;
use super::connection::{self, Targets};
use super::stage::NextReset;
use crate::network::port::{Port, reusable_socket};

/// A command of a handle. The task replies once it has carried the command out.
#[derive(Debug)]
pub(super) enum Command {
    /// Refuse new connections and reset the existing ones.
    Close(oneshot::Sender<()>),
    DropConnections(oneshot::Sender<()>),
    /// Listen, unless it already does.
    Open(oneshot::Sender<io::Result<()>>),
}

#[derive(Debug)]
pub(super) struct RelayTask {
    /// Keeps the port while the relay does not listen.
    port: Port,
    targets: Targets,
    /// `None` while new connections are refused.
    listener: Option<TcpListener>,
    conditions: watch::Sender<LinkConditions>,
    resets: NextReset,
    count: watch::Sender<usize>,
    commands: mpsc::Receiver<Command>,
    connections: JoinSet<()>,
}

impl RelayTask {
    pub(super) fn new(
        port: Port,
        targets: Targets,
        conditions: watch::Sender<LinkConditions>,
        resets: NextReset,
        count: watch::Sender<usize>,
        commands: mpsc::Receiver<Command>,
    ) -> io::Result<Self> {
        let listener = Some(listen(&port)?);
        let connections = JoinSet::new();
        Ok(Self { port, targets, listener, conditions, resets, count, commands, connections })
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                accepted = accept(self.listener.as_ref()) => self.connect(accepted).await,
                Some(ended) = self.connections.join_next() => self.forget(ended),
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // A reply fails if the handle no longer waits for it.
        match command {
            Command::Close(reply) => {
                self.listener = None;
                self.reset_all().await;
                let _ = reply.send(());
            }
            Command::DropConnections(reply) => {
                self.reset_all().await;
                let _ = reply.send(());
            }
            Command::Open(reply) => {
                let _ = reply.send(self.open());
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(listen(&self.port)?);
        }
        Ok(())
    }

    async fn connect(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((client, _)) => {
                let conditions = self.conditions.subscribe();
                let relayed = connection::relay(client, self.targets.clone(), conditions, self.resets.clone());
                self.connections.spawn(relayed);
                self.publish_count();
            }
            Err(error) => {
                // Most likely out of file descriptors; to accept again at once would be a busy loop.
                tracing::warn!(relay = %self.port.address(), %error, "cannot accept");
                sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }

    /// Aborting a connection's future resets both of its sides.
    async fn reset_all(&mut self) {
        self.connections.abort_all();
        while let Some(ended) = self.connections.join_next().await {
            self.forget(ended);
        }
    }

    fn forget(&mut self, ended: Result<(), tokio::task::JoinError>) {
        self.publish_count();
        if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }

    fn publish_count(&self) {
        self.count.send_replace(self.connections.len());
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn listen(port: &Port) -> io::Result<TcpListener> {
    reusable_socket(port.address())?.listen(BACKLOG)
}

/// How many connections may wait to be accepted: more than a test opens at once.
const BACKLOG: u32 = 1024;

/// Long enough not to load the processor, short enough not to delay a test.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(10);
