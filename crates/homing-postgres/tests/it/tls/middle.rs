//! Strangers between a node and its database.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use homing_testbed::Certificate;

use super::server::{SecureServer, is_encrypted, refusal};

/// Shows a certificate with any key.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A stranger that ends the TLS of a node, with a certificate of its choice, and begins its own to the real server.
async fn stranger(secure: &SecureServer, certificate: &str, key: &str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, connector) = (acceptor(certificate, key), connector(secure.authority.pem()));
    let server = secure.server.address();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            client.read_exact(&mut request).await.unwrap();
            client.write_all(b"S").await.unwrap();
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let mut server = TcpStream::connect(server).await.unwrap();
            server.write_all(&request).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'S');
            let mut server = connector.connect(ServerName::try_from("db.example").unwrap(), server).await.unwrap();
            // Its end is the end of the node's connection.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    (address, task)
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let shown = Shown(Arc::new(CertifiedKey::new(chain, key)));
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn connector(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Without verification of the certificate, the binding of the password to it keeps a stranger out.
#[tokio::test]
async fn channel_binding_finds_a_stranger() {
    let secure = SecureServer::start().await;
    let own = Certificate::self_signed(&["db.example"]).unwrap();
    let url = |address: SocketAddr, parameters: &str| {
        format!("postgres://scram:geheim@{address}/postgres?sslmode=require&{parameters}")
    };
    let (address, _task) = stranger(&secure, own.pem(), own.key_pem()).await;
    assert!(is_encrypted(&url(address, "channel_binding=disable")).await.unwrap(), "the stranger reads along");
    let refused = refusal(&url(address, "channel_binding=require")).await;
    assert!(refused.contains("SCRAM channel binding check failed"), "{refused}");

    // The certificate of the real server is public, but its key is not.
    let real = secure.authority.issue(&["db.example"]).unwrap();
    secure.renew(&real).await;
    let (address, _task) = stranger(&secure, real.pem(), own.key_pem()).await;
    let refused = refusal(&url(address, "channel_binding=require")).await;
    assert!(refused.contains("the TLS handshake failed") || refused.contains("certificate is refused"), "{refused}");
}
