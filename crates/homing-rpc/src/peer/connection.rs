//! One HTTP/2 connection to one address.
//!
//! It is made once and never again: when it breaks, its owner knows and decides. [`Connection::open`] spawns the task
//! that drives it, which ends when the connection does, or with the last request sender.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::chain;
use crate::task::resume_panic;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time;
use tonic::body::Body;

/// What sends requests over a connection. Cheap to clone.
pub(crate) type Requests = SendRequest<Body>;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: Requests,
    driver: JoinHandle<String>,
}

impl Connection {
    /// Connects. The error says why not.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, String> {
        match time::timeout(CONNECT_TIMEOUT, Self::connect(address)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(chain(&*error)),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        }
    }

    /// What sends requests over it.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Completes with the reason when the connection has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, but not to be called again once it has completed.
    pub(crate) async fn ended(&mut self) -> String {
        let ended = (&mut self.driver).await;
        resume_panic(ended).unwrap_or_else(|| "the runtime is shutting down".to_owned())
    }

    async fn connect(address: SocketAddr) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            match driver.await {
                Ok(()) => "closed by the peer".to_owned(),
                Err(error) => chain(&error),
            }
        });
        Ok(Self { requests, driver })
    }
}

/// Longer than any round trip on earth with a lost packet in it; shorter than the usual time limit of a call, so that
/// the caller is told which address does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A peer that vanished without a word (a cut link, a lost machine) is found after at most the sum of these.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// HTTP/2's own 64 KiB would cost a round trip for each 64 KiB of an answer; this covers 200 ms at 160 Mbit/s.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// What a peer can make us hold at most for one connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;

/// A status with its details is sent in headers.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
