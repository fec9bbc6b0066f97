//! Accepts connections and serves them.
//!
//! The acceptor:
//!
//! - **Spawned** by [`ServerBuilder::start`](crate::ServerBuilder::start) and kept by the `ServerHandle`.
//! - **Owns** the listener, and the task of each connection in a `JoinSet`.
//! - **Channels:** in, a `watch` that tells it to close. Then it stops listening, sends GOAWAY and lets connections
//!   end.
//! - **Ends** when the connections have ended after that. `shutdown` aborts it after `CLOSE_TIMEOUT`; dropping the
//!   handle aborts it at once. Its connections end with it.
//! - **Panics** are logged; after [`ACCEPT_PAUSE`] it accepts again.
//!
//! The task of a connection:
//!
//! - **Spawned** by the acceptor.
//! - **Owns** the socket and one of the [`MAX_CONNECTIONS`] places.
//! - **Ends** when the peer closes, does not answer a PING in time, shows no credential within [`CREDENTIAL_TIMEOUT`],
//!   or when the acceptor closes or is aborted.
//! - **Panics** are logged by the acceptor. They end this connection only.
//!
//! hyper spawns a detached task for each request, which runs [`Gate::handle`]: see there.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tonic::body::Body;
use tracing::{debug, error, warn};

use crate::error::causes::Causes;
use crate::peer::connection::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::server::gate::{Gate, Origin};
use crate::task::{catch_panic, panic_message};

/// Accepts connections until the server closes.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    gate: Gate,
    /// Changes if the server shuts down.
    closing: watch::Receiver<bool>,
    /// How many requests one connection may have open. The gate decides how many are served.
    max_streams: u32,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, gate: Gate, closing: watch::Receiver<bool>, max_streams: u32) -> Self {
        Self { listener, gate, closing, max_streams }
    }

    pub(crate) async fn run(mut self) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        while let Err(panic) = catch_panic(self.accept_all(&room, &mut connections)).await {
            error!(panic, "a bug: accepting connections panicked; going on");
            time::sleep(ACCEPT_PAUSE).await;
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            note_panic(ended);
        }
    }

    /// Accepts connections until the server closes.
    async fn accept_all(&mut self, room: &Arc<Semaphore>, connections: &mut JoinSet<()>) {
        loop {
            tokio::select! {
                accepted = accept(&self.listener, room) => match accepted {
                    Ok((stream, address, place)) => { connections.spawn(self.serve(stream, address, place)); }
                    Err(error) => pause(&error).await,
                },
                Some(ended) = connections.join_next() => note_panic(ended),
                _ = self.closing.changed() => return,
            }
        }
    }

    /// Serves one connection until it ends.
    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (gate, mut closing, max_streams) = (self.gate.clone(), self.closing.clone(), self.max_streams);
        async move {
            let _place = place;
            let origin = Arc::new(Origin::new(address));
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let (gate, origin) = (gate.clone(), Arc::clone(&origin));
                async move { Ok::<_, Infallible>(gate.handle(request.map(Body::new), &origin).await) }
            });
            let connection = builder(max_streams).serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let mut untrusted = std::pin::pin!(time::sleep(CREDENTIAL_TIMEOUT));
            let (mut open, mut checked) = (true, false);
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
                    () = untrusted.as_mut(), if !checked => {
                        checked = true;
                        if !origin.is_trusted() {
                            gate.refuse(&origin, "no request with the credential within 10 s");
                            return;
                        }
                    }
                }
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

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, place))
}

/// Waits after a failure, for example if no file descriptor is left. Accepting again at once would fail again.
async fn pause(error: &io::Error) {
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

/// How many connections a server may have; each node that calls this one has one. Further ones wait in the listener's
/// queue.
const MAX_CONNECTIONS: usize = 1024;

/// A connection without a request that shows the credential is closed after this time, so that strangers do not take
/// the places of peers.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(10);

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
