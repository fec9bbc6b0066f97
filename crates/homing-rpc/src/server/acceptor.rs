//! Accepts connections and serves them.
//!
//! The acceptor:
//!
//! - **Spawned** by [`ServerBuilder::start`](crate::ServerBuilder::start) and kept by the `ServerHandle`.
//! - **Owns** the listener, and the task of each connection in a `JoinSet`. It waits for no connection: the reception
//!   bounds how many there are.
//! - **Channels:** in, a `watch` that tells it to close. Then it stops listening, sends GOAWAY and lets connections
//!   end.
//! - **Ends** when the connections have ended after that. `shutdown` aborts it after `CLOSE_TIMEOUT`; dropping the
//!   handle aborts it at once. Its connections end with it.
//! - **Panics** are logged; after [`ACCEPT_PAUSE`] it accepts again.
//!
//! The task of a connection:
//!
//! - **Spawned** by the acceptor.
//! - **Owns** the socket and a place: first a stranger's, and after the handshake a peer's.
//! - **Ends** when the reception refuses the connection, when the peer closes it or does not answer a PING in time, or when
//!   the acceptor closes or is aborted.
//! - **Panics** are logged by the acceptor. They end this connection only.
//!
//! hyper spawns a detached task for each request, which runs [`Gate::handle`]: see there.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tonic::body::Body;
use tracing::{debug, error, warn};

use crate::error::causes::Causes;
use crate::peer::connection::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::server::gate::Gate;
use crate::server::reception::Reception;
use crate::task::{catch_panic, panic_message};
use crate::tls::NodeStream;

/// Accepts connections until the server closes.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    connections: Connections,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> Self {
        Self { listener, connections }
    }

    pub(crate) async fn run(mut self) {
        let mut tasks = JoinSet::new();
        while let Err(panic) = catch_panic(self.accept_all(&mut tasks)).await {
            error!(panic, "a bug: accepting connections panicked; going on");
            time::sleep(ACCEPT_PAUSE).await;
        }
        drop(self.listener);
        while let Some(ended) = tasks.join_next().await {
            note_panic(ended);
        }
    }

    /// Accepts connections until the server closes.
    async fn accept_all(&mut self, tasks: &mut JoinSet<()>) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => { tasks.spawn(self.connections.serve(stream, address)); }
                    Err(error) => pause(&error).await,
                },
                Some(ended) = tasks.join_next() => note_panic(ended),
                _ = self.connections.closing.changed() => return,
            }
        }
    }
}

/// What the connections of a server have in common.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) reception: Reception,
    pub(crate) gate: Gate,
    /// Changes if the server shuts down.
    pub(crate) closing: watch::Receiver<bool>,
    /// How many requests one connection may have open. The gate decides how many are served.
    pub(crate) max_streams: u32,
}

impl Connections {
    /// Serves one connection until it ends. It has its place before the future is polled.
    fn serve(&self, stream: TcpStream, address: SocketAddr) -> impl Future<Output = ()> + Send + use<> {
        let place = self.reception.enter(address);
        let (reception, gate) = (self.reception.clone(), self.gate.clone());
        let (mut closing, max_streams) = (self.closing.clone(), self.max_streams);
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "connection ended");
                return;
            }
            let admitted = tokio::select! {
                admitted = reception.admit(stream, address, place) => admitted,
                _ = closing.changed() => None,
            };
            if let Some((stream, _place)) = admitted {
                serve_peer(stream, address, gate, closing, max_streams).await;
            }
        }
    }
}

/// Serves the requests of a peer until its connection ends.
async fn serve_peer(
    stream: NodeStream,
    address: SocketAddr,
    gate: Gate,
    mut closing: watch::Receiver<bool>,
    max_streams: u32,
) {
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let gate = gate.clone();
        async move { Ok::<_, Infallible>(gate.handle(request.map(Body::new), address).await) }
    });
    let connection = builder(max_streams).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut open = true;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(error = %Causes(&error), "connection ended");
                }
                return;
            }
            _ = closing.changed(), if open => {
                open = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Logs the panic of a connection's task. It ends that connection, and no other.
fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        error!(panic = panic_message(&*panic), "a bug: the task of a connection panicked; its connection is closed");
    }
}

/// Waits after a failure, for example if no file descriptor is left. Accepting again at once would fail again. A
/// connection that its client gave up is no failure: it must not keep others waiting.
async fn pause(error: &io::Error) {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    warn!(%error, "connection not accepted");
    time::sleep(ACCEPT_PAUSE).await;
}

fn builder(max_streams: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(max_streams);
    builder
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A caller that vanished without closing the connection is detected within the sum of these; then its functions are
/// cancelled.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_a_connection_ends_there() {
        let mut connections = JoinSet::new();
        connections.spawn(async { panic!("a bug in a connection") });
        connections.spawn(std::future::pending());
        note_panic(connections.join_next().await.unwrap());
        connections.abort_all();
        note_panic(connections.join_next().await.unwrap());
    }
}
