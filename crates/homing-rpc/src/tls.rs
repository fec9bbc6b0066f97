//! Mutual TLS between nodes.

pub(crate) mod noted;
pub(crate) mod verifier;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::result::Result as StdResult;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::either::Either;

use crate::error::{Error, Result};
use crate::reload::Reloaded;
use crate::tls::verifier::PeerVerifier;

/// A connection between nodes, with TLS or without.
pub(crate) type NodeStream = Either<TcpStream, TlsStream<TcpStream>>;

/// The certificates of a node: with them, two nodes prove their identity to each other and encrypt their connection, by mutual
/// TLS 1.3.
///
/// Each node has a certificate with its private key, and knows the authority that has issued the certificates of its peers.
/// All certificates of an application are valid for one name, such as `guestbook.internal`: a node accepts a peer, whichever
/// of the two has connected, if the authority has issued its certificate for that name. Addresses need not be in the
/// certificates. If a certificate limits its use, it must allow it for servers and for clients.
///
/// The files are read again when a connection is made, at most once a second; new connections use what they contain then.
/// If they cannot be used, for example because only one of them has been replaced so far, the last version stays in use, and
/// a warning says so. To change the authority, first let the file contain both, the old one and the new one.
///
/// The process's own [`CryptoProvider`] is used if there is one, otherwise that of ring.
///
/// A node that has TLS has no connections without. If it also has a [`Secret`](crate::Secret), its peers must prove both.
/// Keys that nodes share, such as those of `homing`'s tokens, need a secret.
#[derive(Clone)]
pub struct Tls(Arc<TlsInner>);

struct TlsInner {
    name: ServerName<'static>,
    configs: Reloaded<Configs>,
}

#[derive(Clone)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the certificate of this node (with its intermediate certificates, if there are any), its private key, and the
    /// certificates of the authorities of its peers, all in PEM. `name` is the name for which the certificates of peers
    /// must be valid.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if a file cannot be read or used, or if `name` is not the name of a host. The message names the
    /// files.
    pub fn from_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        authority: impl Into<PathBuf>,
        name: &str,
    ) -> Result<Self> {
        let server_name = ServerName::try_from(name.to_owned()).map_err(|error| {
            Error::misuse(format!(
                "{name:?} cannot be the name in the certificates of nodes; write for example guestbook.internal"
            ))
            .with_source(error)
        })?;
        let paths = vec![certificate.into(), key.into(), authority.into()];
        let expected = server_name.clone();
        let configs = Reloaded::new("the certificates", paths, move |contents| configs(contents, &expected))?;
        Ok(Self(Arc::new(TlsInner { name: server_name, configs })))
    }

    /// Begins TLS on a connection that this node has made.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<NodeStream> {
        let connector = TlsConnector::from(self.0.configs.current().client);
        let stream = connector.connect(self.0.name.clone(), stream).await?;
        Ok(Either::Right(TlsStream::Client(stream)))
    }

    /// Begins TLS on a connection that a peer has made.
    ///
    /// # Errors
    ///
    /// Why TLS failed, with the connection, whose other side has been told.
    pub(crate) async fn accept(&self, stream: TcpStream) -> StdResult<NodeStream, (io::Error, TcpStream)> {
        let stream = TlsAcceptor::from(self.0.configs.current().server).accept(stream).into_fallible().await?;
        Ok(Either::Right(TlsStream::Server(stream)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// Returns whether an error is one of TLS, and not of the network.
pub(crate) fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Makes the settings of both sides. Sessions are not resumed: a resumed one would not look at the certificates again.
fn configs(contents: &[Vec<u8>], name: &ServerName<'static>) -> Result<Configs> {
    let [certificate, key, authority] = contents else { unreachable!("there are three files") };
    let chain: Vec<_> = certificates(certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("private key", error))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(authority, "certificate of the authority")? {
        roots.add(root).map_err(|error| unusable("certificate of the authority", error))?;
    }
    let roots = Arc::new(roots);
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let pair = |error| unusable("pair of certificate and private key", error);
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| unusable("CryptoProvider of the process", error))?
        .with_root_certificates(Arc::clone(&roots))
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(pair)?;
    let verifier = PeerVerifier::new(roots, Arc::clone(&provider), name.clone())
        .map_err(|error| unusable("certificate of the authority", error))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(|error| unusable("CryptoProvider of the process", error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(pair)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    server.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Configs { client: Arc::new(client), server: Arc::new(server) })
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<StdResult<_, _>>().map_err(|error| unusable(what, error))?;
    match certificates.is_empty() {
        true => Err(Error::misuse(format!("there is no {what} in PEM"))),
        false => Ok(certificates),
    }
}

fn unusable(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::misuse(format!("the {what} cannot be used: {error}")).with_source(error)
}

/// TLS 1.3 only: both ends are nodes.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// HTTP/2, <https://www.rfc-editor.org/rfc/rfc9113#section-3.3>.
const ALPN: &[u8] = b"h2";
