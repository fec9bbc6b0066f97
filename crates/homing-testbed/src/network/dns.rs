//! A DNS server whose records a test sets.

mod handler;
mod records;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_server::server::Server;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};

use self::{handler::Handler, records::Records};
use crate::{
    error::{Error, Result},
    network::thread::network,
};

/// A real DNS server on 127.0.0.1, UDP and TCP on one free port, which answers from records that
/// can be set while it runs.
///
/// A [`World`](crate::World) has one per region, because the same name leads to different
/// addresses there: each region reaches the nodes of another one through a link of its own.
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
/// Names are compared without regard to case, and may end in a dot or not. A name without records
/// does not exist (NXDOMAIN), unless one with records lies below it. Negative answers carry no SOA
/// record, so that a resolver does not keep them.
///
/// The view is a cheap handle to clone; the server ends when the last clone is dropped. It runs on
/// a thread of this crate, not on the caller's runtime.
#[derive(Clone, Debug)]
pub struct DnsView {
    address: SocketAddr,
    records: watch::Sender<Records>,
    queries: watch::Receiver<u64>,
    _server: Arc<RunningServer>,
}

/// How a [`DnsView`] answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsAnswers {
    /// What the records say. The default.
    #[default]
    FromRecords,
    /// That no name exists (NXDOMAIN).
    NoSuchName,
    /// That the name exists and has no such records (an empty NOERROR).
    Empty,
    /// That it does not answer this client (REFUSED).
    Refused,
    /// That it is broken (SERVFAIL).
    Failing,
    /// Not at all: the client runs into its own time limit.
    Silent,
}

impl DnsView {
    /// Starts a server without records.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub fn start() -> Result<Self> {
        let _guard = network().enter();
        let (udp, tcp) = bind().map_err(|error| Error::io("cannot bind a port for DNS on 127.0.0.1", error))?;
        let address = tcp.local_addr().map_err(|error| Error::io("no address", error))?;
        let records = watch::Sender::new(Records::default());
        let (count, queries) = watch::channel(0);
        let mut server = Server::new(Handler::new(records.clone(), count));
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_BUFFER);
        Ok(Self { address, records, queries, _server: Arc::new(RunningServer(server)) })
    }

    /// Where it listens, for `HOMING_DNS_SERVER` and the like.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives `name` these A and AAAA records and no others of the two.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` cannot be a name.
    pub fn set_addresses(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        self.change(|records| records.set_addresses(name, addresses))
    }

    /// Gives `name` these SRV records, each a target name and a port, and no others. All have the
    /// same priority and weight. The targets' addresses need records of their own.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if one of the names cannot be one.
    pub fn set_services<T: AsRef<str>>(&self, name: &str, services: impl IntoIterator<Item = (T, u16)>) -> Result<()> {
        self.change(|records| records.set_services(name, services))
    }

    /// Gives `name` these TXT records of one string each, and no others.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` cannot be a name or a text has more than 255
    /// bytes.
    pub fn set_texts<T: AsRef<str>>(&self, name: &str, texts: impl IntoIterator<Item = T>) -> Result<()> {
        self.change(|records| records.set_texts(name, texts))
    }

    /// Takes all records of `name` away.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if `name` cannot be a name.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.change(|records| records.remove(name))
    }

    /// Sets the time to live of all answers from now on, in whole seconds. Default: 1 s.
    pub fn set_ttl(&self, ttl: Duration) {
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.records.send_modify(|records| records.ttl = ttl);
    }

    /// Sets how it answers from now on. Default: [`DnsAnswers::FromRecords`].
    pub fn set_answers(&self, answers: DnsAnswers) {
        self.records.send_modify(|records| records.answers = answers);
    }

    /// How many questions it has been asked, followed as it changes; silence counts too.
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

/// A free port is free for UDP or for TCP; a few attempts find one that is free for both.
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

const BIND_ATTEMPTS: usize = 20;

/// Idle TCP clients are let go after this.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers waiting for one TCP client.
const TCP_BUFFER: usize = 16;
