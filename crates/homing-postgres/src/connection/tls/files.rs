//! [`Files`], the certificates and the key of a connection string, and the configuration of rustls that they give.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use homing_rpc::{Digest, digest_of};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore};

use super::settings::{CERTIFICATE, ClientFiles, KEY, ROOTS, Roots, TlsSettings};
use super::verifier::{Authorities, Verifier};

/// The contents of the files that a connection string names.
pub(super) struct Files {
    roots: Option<Vec<u8>>,
    /// The certificate and its key.
    client: Option<(Vec<u8>, PrivateKey)>,
}

/// The contents of the file of a key.
struct PrivateKey(Vec<u8>);

impl Files {
    /// Reads the files. This blocks.
    ///
    /// # Errors
    ///
    /// A sentence that names the setting and its file, if a file cannot be read or more users than its owner may read the key.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, String> {
        let roots = match &settings.roots {
            Roots::File(path) => Some(read(path, ROOTS)?),
            Roots::Any | Roots::System => None,
        };
        let client = match &settings.client {
            Some(ClientFiles { certificate, key }) => {
                check_permissions(key)?;
                Some((read(certificate, CERTIFICATE)?, PrivateKey(read(key, KEY)?)))
            }
            None => None,
        };
        Ok(Self { roots, client })
    }

    /// Returns a value that differs for other contents.
    pub(super) fn digest(&self) -> Digest {
        let (certificate, key) =
            self.client.as_ref().map_or((&[][..], &[][..]), |(certificate, key)| (certificate, &key.0));
        digest_of([self.roots.as_deref().unwrap_or_default(), certificate, key].into_iter())
    }

    /// Returns the configuration of rustls for connections to PostgreSQL.
    ///
    /// # Errors
    ///
    /// A sentence that names the setting and its file, if a file does not hold what it should.
    pub(super) fn client_config(&self, settings: &TlsSettings) -> Result<ClientConfig, String> {
        // An application that has chosen a provider for the process has its reasons, such as a certified one.
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
        let verifier = self.verifier(settings, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("the process's CryptoProvider does not support TLS 1.2 or 1.3: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.client, &settings.client) {
            (Some((certificate, key)), Some(files)) => {
                let chain = certificates(certificate, &files.certificate, CERTIFICATE)?;
                let key = key.parse(&files.key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| misfit(&error, files))?
            }
            _ => builder.with_no_client_auth(),
        };
        // PostgreSQL 17 checks it. It keeps a client from being led to a server of another protocol.
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = !settings.hides_name;
        // A resumed session would skip the verification. PostgreSQL offers none.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn verifier(
        &self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, String> {
        if settings.roots == Roots::System {
            let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
            let verifier = verifier.map_err(|error| format!("{ROOTS}=system finds no authorities: {error}"))?;
            return Ok(Arc::new(verifier));
        }
        let authorities = match (&self.roots, &settings.roots) {
            (Some(roots), Roots::File(path)) => Some(authorities(roots, path)?),
            _ => None,
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Arc::new(Verifier { authorities, verifies_name: settings.verifies_name(), algorithms }))
    }
}

impl PrivateKey {
    fn parse(&self, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        let path = path.display();
        PrivateKeyDer::from_pem_slice(&self.0).map_err(|_| {
            let is_encrypted = self.0.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
            let found = if is_encrypted { "an encrypted key" } else { "no private key in PEM" };
            format!("{path}, which {KEY} names, holds {found}: name a file with an unencrypted key in PEM")
        })
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}, which {setting} names: {error}", path.display()))
}

/// Checks the permissions of a key's file, as libpq does: only its owner may read it, or also a group if root owns it.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-SSLKEY>
#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    let shown = path.display();
    let file = fs::metadata(path).map_err(|error| format!("cannot read {shown}, which {KEY} names: {error}"))?;
    let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
    if file.mode() & forbidden != 0 {
        let mode = file.mode() & 0o777;
        return Err(format!(
            "other users may read {shown}, which {KEY} names (mode {mode:04o}): set its mode to 0600, or to 0640 if root \
             owns it"
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path) -> Result<(), String> {
    Ok(())
}

fn authorities(pem: &[u8], path: &Path) -> Result<Authorities, String> {
    let certificates = certificates(pem, path, ROOTS)?;
    let mut anchors = RootCertStore::empty();
    // Bundles of providers may hold certificates of kinds that rustls does not know. The others count.
    let (added, _) = anchors.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err(format!("{}, which {ROOTS} names, holds no valid certificate", path.display()));
    }
    Ok(Authorities { anchors, certificates })
}

fn certificates(pem: &[u8], path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = path.display();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{path}, which {setting} names, is not valid PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{path}, which {setting} names, holds no certificate in PEM"));
    }
    Ok(certificates)
}

/// Returns the reason why a client certificate and its key cannot be used.
fn misfit(error: &Error, files: &ClientFiles) -> String {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key in {key} ({KEY}) does not belong to the certificate in {certificate} ({CERTIFICATE})")
        }
        error => format!("the certificate in {certificate} ({CERTIFICATE}) cannot be used with {key} ({KEY}): {error}"),
    }
}

/// The name of PostgreSQL's protocol.
/// <https://www.iana.org/assignments/tls-extensiontype-values/tls-extensiontype-values.xhtml#alpn-protocol-ids>
pub(super) const ALPN: &[u8] = b"postgresql";

const ENCRYPTED: &[u8] = b"ENCRYPTED";
