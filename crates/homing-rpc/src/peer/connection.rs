//! One HTTP/2 connection to one address.
//!
//! A connection does not reconnect. If it breaks, its owner learns of it and decides. If this node has a secret, both sides
//! prove that they have it before HTTP/2 begins ([`handshake`](crate::handshake)).
//!
//! [`Connection::open`] spawns the task that drives the connection:
//!
//! - **Owns** the socket. hyper spawns further tasks for requests, which end with the connection.
//! - **Ends** with the connection, or with the last [`Requests`]. Calls in flight keep it after its peer was removed.
//! - **Panics** continue in [`Connection::ended`], and the peer's task catches them there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time;
use tonic::body::Body;

use crate::error::causes::Causes;
use crate::error::reason::Reason;
use crate::handshake::client::ClientFailure;
use crate::metadata::identity::Identity;
use crate::task::resume_panic;
use crate::tls::noted::{NotedStream, TlsFailure};
use crate::tls::{NodeStream, is_of_tls};

/// Sends requests over a connection. Cheap to clone.
pub(crate) type Requests = SendRequest<Body>;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: Requests,
    driver: JoinHandle<String>,
    tls_failure: TlsFailure,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct OpenFailure {
    pub(crate) message: String,
    /// Present if another attempt would fail in the same way until an operator has changed something.
    pub(crate) refusal: Option<Reason>,
}

impl OpenFailure {
    /// A peer that breaks off TLS or has no acceptable certificate refuses this node until its files are corrected.
    fn of_tls(error: &io::Error) -> Self {
        let refusal = is_of_tls(error).then_some(Reason::Unauthenticated);
        Self { refusal, ..Self::broken_off(&Causes(error).to_string()) }
    }

    fn broken_off(reason: &str) -> Self {
        let advice = "check the files of HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA on both nodes";
        Self { message: format!("TLS failed: {reason}; {advice}"), refusal: Some(Reason::Unauthenticated) }
    }
}

impl Connection {
    /// Connects, begins TLS, and proves that this node has the secret. Each of the three may take as long as `timeout`.
    pub(crate) async fn open(address: SocketAddr, timeout: Duration, identity: &Identity) -> Result<Self, OpenFailure> {
        let failed = |message| OpenFailure { message, refusal: None };
        let late = |what| failed(format!("{what} within {timeout:?}"));
        let stream = match time::timeout(timeout, connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(format!("{}{}", Causes(&error), hint(address, &error)))),
            Err(_) => return Err(late("no connection")),
        };
        let mut stream = match time::timeout(timeout, identity.secure(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(OpenFailure::of_tls(&error)),
            Err(_) => return Err(late("connected, but it did not begin TLS")),
        };
        match time::timeout(timeout, identity.prove(&mut stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(ClientFailure::Io(error))) if is_of_tls(&error) => return Err(OpenFailure::of_tls(&error)),
            Ok(Err(failure)) => {
                let refusal = failure.is_refusal().then_some(Reason::Unauthenticated);
                return Err(OpenFailure { message: failure.advice(), refusal });
            }
            Err(_) => return Err(late("connected, but it did not prove that it has the secret")),
        }
        Self::begin(stream).await.map_err(|error| failed(Causes(&error).to_string()))
    }

    /// Returns the sender for requests.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Returns why the peer refuses this node, if it broke the connection off by TLS.
    pub(crate) fn refusal(&self) -> Option<OpenFailure> {
        self.tls_failure.reason().map(OpenFailure::broken_off)
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

    async fn begin(stream: NodeStream) -> hyper::Result<Self> {
        let (stream, tls_failure) = NotedStream::new(stream);
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
        Ok(Self { requests, driver, tls_failure })
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says why nothing may listen at an address.
fn hint(address: SocketAddr, error: &io::Error) -> &'static str {
    if error.kind() != io::ErrorKind::ConnectionRefused || address.ip().is_loopback() {
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
