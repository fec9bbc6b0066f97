//! A DNS server whose records a test sets.
//!
//! [`DnsView::start`] starts hickory's server on the network's thread. Its tasks (one for each
//! socket and client) belong to the server and end when the last clone of the view is dropped.

mod handler;
pub(crate) mod records;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::server::Server;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use self::handler::Handler;
use self::records::{DnsAnswers, Records};
use crate::error::{Error, Result};
use crate::network::thread::network;

/// A DNS server on a free port of 127.0.0.1, over UDP and TCP. A test sets its records while it
/// runs.
///
/// A [`World`](crate::World) has one view for each region, because a name has different addresses
/// in different regions: each region reaches the nodes of another region through its own link.
///
/// ```no_run
/// # fn example() -> homing_testbed::Result<()> {
/// use homing_testbed::{DnsAnswers, DnsView};
///
/// let view = DnsView::start()?;
/// view.set_addresses("syd.shop.internal", ["127.0.0.1".parse().unwrap()])?;
/// view.set_services("_homing._tcp.syd.shop.internal", [("one.syd.shop.internal", 4750)])?;
/// view.set_answers(DnsAnswers::Refused);
/// # Ok(())
/// # }
/// ```
///
/// Names are compared without regard to case, and may end with a dot. A name without records does
/// not exist (NXDOMAIN), unless a name below it has records. Negative answers have no SOA record, so
/// that a resolver does not cache them.
///
/// The view is a handle that is cheap to clone. The server ends when the last clone is dropped. It
/// runs on a thread of this crate, not on the caller's runtime.
#[derive(Clone, Debug)]
pub struct DnsView {
    address: SocketAddr,
    records: watch::Sender<Records>,
    queries: watch::Receiver<u64>,
    _server: Arc<RunningServer>,
}

impl DnsView {
    /// Starts a server without records.
    ///
    /// # Errors
    ///
    /// An I/O error if no port is free. No predicate holds for it.
    pub fn start() -> Result<Self> {
        let _guard = network().enter();
        let failed = |error| Error::io("cannot bind a port for DNS on 127.0.0.1", error);
        let (udp, tcp) = bind().map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let records = watch::Sender::new(Records::default());
        let (count, queries) = watch::channel(0);
        let mut server = Server::new(Handler::new(records.clone(), count));
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_BUFFER);
        Ok(Self { address, records, queries, _server: Arc::new(RunningServer(server)) })
    }

    /// Returns the server's address, for `HOMING_DNS_SERVER` and the like.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the A and AAAA records of `name`.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` is not a valid DNS name.
    pub fn set_addresses(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        self.change(|records| records.set_addresses(name, addresses))
    }

    /// Replaces the SRV records of `name`. A service is a target name and a port. All records have
    /// the same priority and weight. The addresses of the targets need records of their own.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` or a target is not a valid DNS name.
    pub fn set_services<T: AsRef<str>>(&self, name: &str, services: impl IntoIterator<Item = (T, u16)>) -> Result<()> {
        self.change(|records| records.set_services(name, services))
    }

    /// Replaces the TXT records of `name`. Each text becomes a record of one string.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` is not a valid DNS name, or if a text has more
    /// than 255 bytes.
    pub fn set_texts<T: AsRef<str>>(&self, name: &str, texts: impl IntoIterator<Item = T>) -> Result<()> {
        self.change(|records| records.set_texts(name, texts))
    }

    /// Removes all records of `name`.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` is not a valid DNS name.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.change(|records| records.remove(name))
    }

    /// Sets the time to live of all later answers, in whole seconds. Default: 1 s.
    pub fn set_ttl(&self, ttl: Duration) {
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.records.send_modify(|records| records.ttl = ttl);
    }

    /// Sets how the server answers from now on. Default: [`DnsAnswers::FromRecords`].
    pub fn set_answers(&self, answers: DnsAnswers) {
        self.records.send_modify(|records| records.answers = answers);
    }

    /// Returns how many queries have arrived, as a value that can be watched. Queries without an
    /// answer count too.
    pub fn queries(&self) -> watch::Receiver<u64> {
        self.queries.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Records) -> Result<()>) -> Result<()> {
        let mut result = Ok(());
        self.records.send_modify(|records| result = change(records));
        result
    }
}

/// Ends its tasks when dropped.
struct RunningServer(#[expect(dead_code, reason = "held for its drop")] Server<Handler>);

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningServer")
    }
}

/// Binds a port that is free for both UDP and TCP. The system gives a port that is free for TCP, so
/// this may take several attempts.
fn bind() -> std::io::Result<(UdpSocket, TcpListener)> {
    let attempt = || {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0")?;
        let udp = std::net::UdpSocket::bind(tcp.local_addr()?)?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
    };
    (1..BIND_ATTEMPTS).find_map(|_| attempt().ok()).map_or_else(attempt, Ok)
}

/// After so many ports without a free one for UDP something else is wrong.
const BIND_ATTEMPTS: usize = 20;

/// After this time the server closes the connection of an idle TCP client.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// How many answers may wait for one TCP client. Tests send one query at a time.
const TCP_BUFFER: usize = 16;
