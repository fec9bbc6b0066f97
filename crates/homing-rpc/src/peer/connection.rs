//! One HTTP/2 connection to one address.
//!
//! A connection does not reconnect. If it breaks, its owner learns of it and decides.
//!
//! [`Connection::open`] spawns the task that drives the connection:
//!
//! - **Owns** the socket. hyper spawns further tasks for requests, which end with the connection.
//! - **Ends** with the connection, or with the last [`Requests`]. Calls in flight keep it after its peer was removed.
//! - **Panics** continue in [`Connection::ended`], and the peer's task catches them there.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::causes::Causes;
use crate::task::resume_panic;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time;
use tonic::body::Body;

/// Sends requests over a connection. Cheap to clone.
pub(crate) type Requests = SendRequest<Body>;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: Requests,
    driver: JoinHandle<String>,
}

impl Connection {
    /// Connects. The error says why that failed.
    pub(crate) async fn open(address: SocketAddr, timeout: Duration) -> Result<Self, String> {
        match time::timeout(timeout, Self::connect(address)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("{}{}", Causes(&*error), hint(address, &*error))),
            Err(_) => Err(format!("no connection within {timeout:?}")),
        }
    }

    /// Returns the sender for requests.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Waits until the connection has ended. Returns the reason.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. It must not be called again after it has completed.
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
                Err(error) => Causes(&error).to_string(),
            }
        });
        Ok(Self { requests, driver })
    }
}

/// Says why nothing may listen at an address.
fn hint(address: SocketAddr, error: &(dyn StdError + 'static)) -> &'static str {
    let kind = error.downcast_ref().map(io::Error::kind);
    if kind != Some(io::ErrorKind::ConnectionRefused) || address.ip().is_loopback() {
        return "";
    }
    "; check that a node runs there, and that it has HOMING_SECRET: without it, it listens on its loopback address only"
}

/// A peer that vanished without closing the connection (a cut link, a lost machine) is detected within the sum of
/// these.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// How much a stream may have in flight. HTTP/2's default of 64 KiB would cost a round trip for each 64 KiB of an
/// answer; this covers a round trip of 200 ms at 160 Mbit/s. Beyond it the sender waits.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// How much a connection may have in flight: the largest window of HTTP/2. It must be larger than those of all streams
/// that are read slowly or not at all ([`MAX_STREAMS`]), because otherwise they would leave nothing for small calls.
/// The windows of the streams limit the memory.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How many answers that are streams may be open on a connection. Further ones wait at the caller. Their windows take
/// up to half of the connection's.
pub(crate) const MAX_STREAMS: usize = 256;

const _: () = assert!(MAX_STREAMS * STREAM_WINDOW_BYTES as usize <= CONNECTION_WINDOW_BYTES as usize / 2 + 1);

/// The limit for the headers of an answer, which contain a status with its details.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connection_has_a_hint() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(hint(([10, 0, 0, 1], 4750).into(), &refused).contains("HOMING_SECRET"));
        assert_eq!(hint(([127, 0, 0, 1], 4750).into(), &refused), "");
        assert_eq!(hint(([10, 0, 0, 1], 4750).into(), &io::Error::from(io::ErrorKind::ConnectionReset)), "");
    }
}
