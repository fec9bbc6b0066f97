//! The causes of a failed handshake, in words.

use std::error::Error as StdError;
use std::io;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::settings::{CERTIFICATE, KEY, ROOTS, Roots, TlsSettings};

/// Returns the error of rustls among the causes of an error.
pub(super) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        // An I/O error does not name the error that it wraps as its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        error.downcast_ref().or_else(|| wrapped?.downcast_ref())
    })
}

/// Says what is wrong, as the end of a sentence about the database at an address.
pub(super) fn explain(error: &Error, settings: &TlsSettings) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error, settings),
        Error::AlertReceived(alert) => {
            let advice = match settings.client {
                Some(_) => format!("check the certificate and the key of {CERTIFICATE} and {KEY}"),
                None => format!("if it demands a client certificate, name one with {CERTIFICATE} and {KEY}"),
            };
            format!("it ended the TLS handshake with the alert {alert:?}: {advice}")
        }
        error => format!("the TLS handshake failed: {error}"),
    }
}

fn explain_certificate(error: &CertificateError, settings: &TlsSettings) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            let authorities = match &settings.roots {
                Roots::File(path) => format!("in {}, which {ROOTS} names", path.display()),
                Roots::Any | Roots::System => format!("that the system trusts: name the server's own one in {ROOTS}"),
            };
            format!("its certificate was not issued by an authority {authorities}")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let expected = expected.to_str();
            match names.is_empty() {
                true => format!(
                    "its certificate is not valid for {expected}: it names no host in its subjectAltName, and a name in its \
                     subject does not count"
                ),
                false => format!(
                    "its certificate is not valid for {expected}, but for {}: correct the host in the connection string, or \
                     the certificate",
                    names.join(", ")
                ),
            }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago: renew it", distance(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let distance = distance(*time, *not_before);
            format!("its certificate is valid in {distance} only: compare the clocks of both machines")
        }
        CertificateError::Other(cause) => format!(
            "its certificate is refused: {}; if it is its own authority, name the certificate itself in {ROOTS}",
            cause.0
        ),
        error => format!("its certificate is refused: {}", Error::InvalidCertificate(error.clone())),
    }
}

/// Returns the name in `DnsName("name")` or `IpAddress(address)`, as rustls shows it.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |name| name.trim_matches('"'))
}

fn distance(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
