//! [`Verifier`], which checks the certificate of a server.

use std::sync::Arc;
use std::{error, fmt};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::der::public_key_of_version_1;

/// Checks as much of a server's certificate as the connection string asks for.
///
/// The server always has to prove that it has the key of its certificate. If the certificate itself is not verified, this
/// still gives channel binding its meaning: a stranger in the middle cannot show the real server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None` if any certificate is accepted.
    pub(super) authorities: Option<Authorities>,
    pub(super) verifies_name: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// The authorities of a file.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) anchors: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Checks that one of them issued a certificate, or that the certificate is in the file itself.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if public_key_of_version_1(certificate).is_some() {
            return Err(CertificateError::Other(OtherError(Arc::new(Version1))).into());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let issued =
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.anchors, intermediates, now, algorithms.all);
        match issued {
            // `openssl req -x509` makes a certificate that is its own authority, and PostgreSQL's documentation gives it to a
            // server. Its time is checked before its kind, so an expired one does not get here.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.certificates.contains(certificate) => {
                Ok(())
            }
            issued => issued,
        }
    }
}

/// A certificate is too old to be verified.
#[derive(Debug)]
struct Version1;

impl fmt::Display for Version1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has version 1 of X.509, and only version 3 is verified: issue it with a subjectAltName")
    }
}

impl error::Error for Version1 {}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify(end_entity, intermediates, now, &self.algorithms)?;
        }
        if self.verifies_name {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // PostgreSQL's documentation makes a certificate of version 1, which rustls does not read. If it is not to be
        // verified, only its key matters.
        match public_key_of_version_1(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms),
            None => verify_tls13_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
