//! Accepts connections and serves them.
//!
//! [`Acceptor::run`] is spawned by [`Server`](crate::ServerBuilder::start) and kept by its handle. It owns the listener
//! and a task for each connection. When told to close it stops listening, lets the connections end (HTTP/2 GOAWAY) and
//! returns; aborted, it takes the connections down with it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time;
use tonic::body::Body;
use tracing::{debug, warn};

use crate::error::chain;
use crate::peer::connection::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::server::gate::Gate;
use crate::task::resume_panic;

/// What accepts connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    gate: Gate,
    /// Changes when it is time to close.
    closing: watch::Receiver<bool>,
    /// How many requests one connection may have open; who may have how many is decided by the gate.
    max_streams: u32,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, gate: Gate, closing: watch::Receiver<bool>, max_streams: u32) -> Self {
        Self { listener, gate, closing, max_streams }
    }

    pub(crate) async fn run(mut self) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = accept(&self.listener, &room) => match accepted {
                    Ok((stream, place)) => { connections.spawn(self.serve(stream, place)); }
                    Err(error) => pause(&error).await,
                },
                Some(ended) = connections.join_next() => { resume_panic(ended); }
                _ = self.closing.changed() => break,
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            resume_panic(ended);
        }
    }

    /// One connection, until it ends.
    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) -> impl Future<Output = ()> + Send + use<> {
        let (gate, mut closing, max_streams) = (self.gate.clone(), self.closing.clone(), self.max_streams);
        async move {
            let _place = place;
            let trusted = Arc::new(AtomicBool::new(false));
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let (gate, trusted) = (gate.clone(), Arc::clone(&trusted));
                async move { Ok::<_, Infallible>(gate.handle(request.map(Body::new), &trusted).await) }
            });
            let connection = builder(max_streams).serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let mut untrusted = std::pin::pin!(time::sleep(CREDENTIAL_TIMEOUT));
            let (mut open, mut checked) = (true, false);
            loop {
                tokio::select! {
                    ended = connection.as_mut() => {
                        if let Err(error) = ended {
                            debug!(error = chain(&error), "connection ended");
                        }
                        return;
                    }
                    _ = closing.changed(), if open => {
                        open = false;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = untrusted.as_mut(), if !checked => {
                        checked = true;
                        if !trusted.load(Ordering::Acquire) {
                            debug!("no credential in time, closing the connection");
                            return;
                        }
                    }
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// As with no file descriptor left: accepting at once again would only burn time.
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

/// Each node that calls this one has one; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;

/// A connection on which nothing trusted was said for so long is closed: strangers do not take the places of peers.
const CREDENTIAL_TIMEOUT: Duration = Duration::from_secs(10);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A caller that vanished without a word is found, and its functions are told, after at most the sum of these.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
