//! The identity of this node, as its connections prove it and its requests show it.

use std::io;

use http::header::{HeaderValue, USER_AGENT};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::handshake::client::{ClientFailure, prove};
use crate::handshake::message::NodeNumber;
use crate::metadata::{HOMING_APP, HOMING_PROTOCOL, HOMING_REGION};
use crate::secret::Secret;
use crate::tls::{NodeStream, Tls};
use crate::topology::Topology;

/// The identity of this node: the credential and the certificate, which each connection proves, and the protocol version,
/// the application and the region, which are in the metadata of each request.
#[derive(Debug)]
pub(crate) struct Identity {
    secret: Option<Secret>,
    tls: Option<Tls>,
    node: NodeNumber,
    protocol: HeaderValue,
    /// `None` if the application has no name, or one that cannot travel.
    app: Option<HeaderValue>,
    region: HeaderValue,
}

impl Identity {
    pub(crate) fn new(topology: &Topology, node: NodeNumber, secret: Option<Secret>, tls: Option<Tls>) -> Self {
        Self {
            secret,
            tls,
            node,
            protocol: HeaderValue::from(homing_proto::PROTOCOL_VERSION),
            app: topology.app().and_then(|app| HeaderValue::from_bytes(app.as_bytes()).ok()),
            region: HeaderValue::from_str(topology.region().as_str()).expect("a DNS label is a header value"),
        }
    }

    /// Begins TLS on a new connection, if this node has certificates.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<NodeStream> {
        match &self.tls {
            Some(tls) => tls.connect(stream).await,
            None => Ok(Either::Left(stream)),
        }
    }

    /// Proves on a new connection that this node has the secret, if it has one and the peer proves the same.
    pub(crate) async fn prove(&self, stream: &mut NodeStream) -> Result<(), ClientFailure> {
        match &self.secret {
            Some(secret) => prove(stream, self.node, secret).await,
            None => Ok(()),
        }
    }

    pub(crate) fn add_to(&self, headers: &mut http::HeaderMap) {
        headers.insert(HOMING_PROTOCOL, self.protocol.clone());
        headers.insert(HOMING_REGION, self.region.clone());
        if let Some(app) = &self.app {
            headers.insert(HOMING_APP, app.clone());
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(SOFTWARE));
    }
}

const SOFTWARE: &str = concat!("homing/", env!("CARGO_PKG_VERSION"));
