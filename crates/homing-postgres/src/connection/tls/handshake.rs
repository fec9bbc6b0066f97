//! [`Handshake`], which begins TLS on a new connection for the driver.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{self, ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::{TlsConnector, client};

use super::binding::end_point;
use super::files::ALPN;
use super::settings::TlsSettings;

/// Begins TLS on one new connection, and tells how far that got. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    config: Option<Arc<ClientConfig>>,
    verifies_name: bool,
    is_direct: bool,
    /// A [`Stage`].
    stage: Arc<AtomicU8>,
}

/// How far a handshake has got.
///
/// Closed: a handshake has no other stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The server has not agreed to it.
    NotBegun,

    Begun,

    /// The connection is encrypted, and the server has shown a certificate that is accepted.
    Done,
}

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct TlsStream(client::TlsStream<Socket>);

impl Handshake {
    pub(super) fn new(config: Option<Arc<ClientConfig>>, settings: &TlsSettings) -> Self {
        let (verifies_name, is_direct) = (settings.verifies_name(), settings.is_direct);
        Self { config, verifies_name, is_direct, stage: Arc::default() }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            BEGUN => Stage::Begun,
            DONE => Stage::Done,
            _ => Stage::NotBegun,
        }
    }

    async fn shake_hands(self, host: &str, socket: Socket) -> io::Result<TlsStream> {
        self.stage.store(BEGUN, Ordering::Release);
        let name = self.server_name(host)?;
        let config = self.config.ok_or_else(|| io::Error::other("the connection string forbids TLS"))?;
        let stream = TlsConnector::from(config).connect(name, socket).await?;
        // A server of another protocol may have a certificate of the same name.
        // https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-SSLNEGOTIATION
        if self.is_direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other("the server does not confirm that it speaks PostgreSQL's protocol (ALPN)"));
        }
        self.stage.store(DONE, Ordering::Release);
        Ok(TlsStream(stream))
    }

    fn server_name(&self, host: &str) -> io::Result<ServerName<'static>> {
        match ServerName::try_from(host.to_owned()) {
            Ok(name) => Ok(name),
            // It is not verified, and as an address it is not sent either.
            Err(_) if !self.verifies_name => Ok(IpAddr::from(Ipv4Addr::UNSPECIFIED).into()),
            Err(_) => Err(io::Error::other(format!("{host} cannot be the name in a certificate"))),
        }
    }
}

impl MakeTlsConnect<Socket> for Handshake {
    type Stream = TlsStream;
    type TlsConnect = NamedHandshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<NamedHandshake> {
        Ok(NamedHandshake { handshake: self.clone(), host: host.to_owned() })
    }
}

/// A handshake with the server of a host.
#[derive(Debug)]
pub(crate) struct NamedHandshake {
    handshake: Handshake,
    host: String,
}

impl TlsConnect<Socket> for NamedHandshake {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.handshake.shake_hands(&self.host, socket).await })
    }
}

impl tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let hash = certificate.and_then(|certificate| end_point(certificate));
        hash.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The numbers of [`Stage`]; 0 is that of `NotBegun`.
const BEGUN: u8 = 1;
const DONE: u8 = 2;
