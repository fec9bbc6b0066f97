//! The server: it offers this node's functions to other nodes.

pub(crate) mod acceptor;
pub(crate) mod admission;
pub(crate) mod gate;
pub(crate) mod limited_body;
pub(crate) mod reception;
pub(crate) mod refusals;
pub(crate) mod service;
pub(crate) mod strangers;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;
use tracing::{info, warn};

use crate::error::{Error, Result};
use crate::node::LocalNode;
use crate::node::config::NodeConfig;
use crate::server::acceptor::{Acceptor, Connections};
use crate::server::admission::Admission;
use crate::server::gate::Gate;
use crate::server::reception::Reception;
use crate::server::refusals::Refusals;
use crate::server::service::RpcService;
use crate::task::resume_panic;

/// A gRPC server that offers a node's functions, health, reflection and added services to other nodes.
///
/// Every connection must prove that it has the secret and the certificate that the node demands, also for health and
/// reflection. Without both the server listens on loopback addresses only.
///
/// Connections that have not proved it yet have 256 places and ten seconds of their own. If there are more, new ones push
/// out the oldest of the address that has the most. Connections of peers have
/// [places of their own](ServerBuilder::max_connections).
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// Returns the settings of a node's server.
    pub fn builder(config: NodeConfig) -> ServerBuilder {
        ServerBuilder {
            config,
            listen: DEFAULT_LISTEN,
            routes: Routes::default(),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            max_connections: DEFAULT_MAX_PEER_CONNECTIONS,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
        }
    }
}

/// Settings of a [`Server`].
#[derive(Debug)]
#[must_use = "nothing is served before start"]
pub struct ServerBuilder {
    config: NodeConfig,
    listen: SocketAddr,
    routes: Routes,
    max_in_flight: u32,
    max_connections: usize,
    drain_timeout: Duration,
}

impl ServerBuilder {
    /// Sets the address to listen on; port 0 selects a free port. Default: 127.0.0.1:4750.
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Adds a gRPC service. If its package is `homing.v1`, its handlers get the sender of a request from
    /// [`Caller::of`](crate::Caller::of). The server limits the size of messages, so the service's own limit should be
    /// raised to the same value or above.
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Sets how many calls are served at the same time. Further calls are refused with
    /// [`Reason::Overloaded`](crate::Reason::Overloaded). Default: 1024, which is more than a database can process at
    /// the same time, and less than what fills the memory of a small machine.
    pub fn max_in_flight(self, max_in_flight: u32) -> Self {
        Self { max_in_flight, ..self }
    }

    /// Sets how many connections of peers the server has; further ones are refused. Each node that calls this one has one,
    /// and for a moment a second one while it replaces the first. Default: 1024.
    pub fn max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// Sets how long a shutdown waits for calls in flight. Default: 10 s.
    pub fn drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout, ..self }
    }

    /// Listens and serves until the handle is dropped or shut down.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the address is not a loopback address and neither a secret nor TLS is set, if the address is in use or
    /// not available, or if `max_in_flight` or `max_connections` is out of range.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing keeps listening.
    pub async fn start(self) -> Result<ServerHandle> {
        self.check()?;
        let (local_addr, listener) = listen(self.listen).map_err(|error| {
            Error::misuse(format!("cannot listen on {}; choose another address or port", self.listen))
                .with_source(error)
        })?;
        let health = HealthReporter::new();
        let admission = Arc::new(Admission::new(self.max_in_flight));
        let refusals = Refusals::default();
        let reception = Reception::new(&self.config, self.max_connections, refusals.clone());
        let max_message_bytes = self.config.max_message_bytes;
        let region = self.config.topology.region().clone();
        let app = self.config.topology.app().map(ToOwned::to_owned);
        let routes = self
            .routes
            .add_service(RpcService::new(LocalNode::new(self.config)).into_server())
            .add_service(health_service(&health))
            .add_service(reflection()?);
        let gate = Gate::new(routes, app, Arc::clone(&admission), max_message_bytes, refusals.clone());
        let (close, closing) = watch::channel(false);
        let max_streams = self.max_in_flight.saturating_add(EXTRA_STREAMS);
        let connections = Connections { reception, gate, closing, max_streams };
        let task = tokio::spawn(Acceptor::new(listener, connections).run());
        info!(%local_addr, %region, "serving");
        let drain_timeout = self.drain_timeout;
        Ok(ServerHandle { local_addr, health, admission, refusals, close, drain_timeout, task })
    }

    fn check(&self) -> Result<()> {
        let has_proof = self.config.secret.is_some() || self.config.tls.is_some();
        if !has_proof && !self.listen.ip().is_loopback() {
            return Err(Error::misuse(format!(
                "cannot listen on {} without a secret and without TLS, because everyone who reaches it could run functions on this \
                 node; set HOMING_SECRET to at least 32 characters on all nodes, or HOMING_TLS_CERT and the others, or listen on a loopback address such \
                 as 127.0.0.1",
                self.listen
            )));
        }
        if self.max_in_flight == 0 || self.max_in_flight > MAX_IN_FLIGHT {
            return Err(Error::misuse(format!(
                "max_in_flight is {}; set it to 1 to {MAX_IN_FLIGHT}",
                self.max_in_flight
            )));
        }
        if self.max_connections == 0 || self.max_connections > Semaphore::MAX_PERMITS {
            return Err(Error::misuse(format!("max_connections is {}; set it to at least 1", self.max_connections)));
        }
        Ok(())
    }
}

/// A running server. If the handle is dropped, the server stops at once: calls in flight are interrupted, and their
/// callers do not learn their fate. [`shutdown`](Self::shutdown) lets them finish.
pub struct ServerHandle {
    local_addr: SocketAddr,
    health: HealthReporter,
    admission: Arc<Admission>,
    refusals: Refusals,
    close: watch::Sender<bool>,
    drain_timeout: Duration,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Returns the address on which the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns how many connections were refused since the start, for each reason.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Shuts the server down: tells peers that it is not serving, refuses new calls so that they go to another node,
    /// waits for calls in flight up to the drain timeout, and closes the connections.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server stops at once.
    pub async fn shutdown(mut self) {
        info!(local_addr = %self.local_addr, in_flight = self.admission.in_flight(), "shutting down");
        self.health.set_service_status(WHOLE_SERVER, ServingStatus::NotServing).await;
        self.admission.drain();
        if time::timeout(self.drain_timeout, self.admission.idle()).await.is_err() {
            warn!(in_flight = self.admission.in_flight(), "the drain timeout is over; closing with calls in flight");
        }
        // This ends the health streams; with them no connection would become idle.
        self.health.clear_service_status(WHOLE_SERVER).await;
        self.close.send_replace(true);
        if let Ok(ended) = time::timeout(CLOSE_TIMEOUT, &mut self.task).await {
            resume_panic(ended);
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerHandle").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

fn listen(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library does: a restarted program gets its port although connections of the last one linger. On
    // Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    Ok((listener.local_addr()?, listener))
}

fn health_service(
    health: &HealthReporter,
) -> tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService> {
    let service = tonic_health::server::HealthService::from_health_reporter(health.clone());
    tonic_health::pb::health_server::HealthServer::new(service)
}

fn reflection()
-> Result<tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(homing_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| {
            Error::misuse("the descriptors of the services cannot be read; rebuild the program").with_source(error)
        })
}

/// The name of the whole server in gRPC's health protocol.
const WHOLE_SERVER: &str = "";

/// A loopback address, because the default has no secret.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), DEFAULT_PORT);
const DEFAULT_PORT: u16 = 4750;

/// How many connections may wait until they are accepted. A burst of strangers fills the usual 128, and then the kernel drops
/// the packets of peers too, which they repeat after a second. Linux has at most `net.core.somaxconn`, by default as many.
const BACKLOG: u32 = 4096;

/// The default of [`ServerBuilder::max_in_flight`].
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 1024;
const MAX_IN_FLIGHT: u32 = 1 << 20;

/// The default of [`ServerBuilder::max_connections`]: more nodes than most applications have.
pub const DEFAULT_MAX_PEER_CONNECTIONS: usize = 1024;

/// The default of [`ServerBuilder::drain_timeout`].
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long connections may take to close after the calls have ended; then they are aborted.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The streams that one connection may have in addition to calls, for health, reflection and `Describe`. Further
/// requests wait at their sender.
const EXTRA_STREAMS: u32 = 64;
