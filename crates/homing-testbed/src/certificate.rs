//! [`CertificateAuthority`], which issues certificates for servers and clients.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::error::{AtPath as _, Error, Result};

/// An authority of a test's own. Its keys are new each time, and no system trusts it.
///
/// ```
/// use homing_testbed::{CertificateAuthority, Postgres};
///
/// # fn example() -> homing_testbed::Result<()> {
/// let authority = CertificateAuthority::new("an authority of this test")?;
/// let options = Postgres::options().with_certificate(&authority.issue(&["127.0.0.1", "db.example"])?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    pem: String,
    key_pem: String,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,

    /// Its private key, which only its owner may read.
    pub key: PathBuf,
}

impl CertificateAuthority {
    /// Creates an authority with this name.
    ///
    /// # Errors
    ///
    /// An error for which no predicate holds, if the system has no random numbers.
    pub fn new(name: &str) -> Result<Self> {
        let (mut params, key) = (named(name), KeyPair::generate().map_err(failed)?);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Returns the certificate of the authority, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for a server with these names and addresses. It has no others: the name in its subject is
    /// `server`.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if a name cannot be the name of a host.
    pub fn issue(&self, names: &[&str]) -> Result<Certificate> {
        self.sign(for_server(names)?)
    }

    /// Issues a certificate for a server as [`issue`](Self::issue) does, which expired in 2020.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if a name cannot be the name of a host.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Certificate> {
        let mut params = for_server(names)?;
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    /// Issues a certificate for a client. PostgreSQL compares the name in its subject with the user's.
    ///
    /// # Errors
    ///
    /// An error for which no predicate holds, if the system has no random numbers.
    pub fn issue_for_user(&self, user: &str) -> Result<Certificate> {
        self.sign(named(user))
    }

    fn sign(&self, params: CertificateParams) -> Result<Certificate> {
        let key = KeyPair::generate().map_err(failed)?;
        let pem = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Certificate { pem, key_pem: key.serialize_pem() })
    }
}

impl Certificate {
    /// Creates a certificate for a server that no authority has issued: it is its own authority.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if a name cannot be the name of a host.
    pub fn self_signed(names: &[&str]) -> Result<Self> {
        let (mut params, key) = (for_server(names)?, KeyPair::generate().map_err(failed)?);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { pem, key_pem: key.serialize_pem() })
    }

    /// Takes a certificate and its private key that another tool has made, in PEM.
    pub fn from_pem(pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        Self { pem: pem.into(), key_pem: key_pem.into() }
    }

    /// Returns the certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the private key, in PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes the certificate and its key to `NAME.crt` and `NAME.key` in a folder. Replaces what is there.
    ///
    /// # Errors
    ///
    /// An I/O error if a file cannot be written. No predicate holds for it.
    pub fn save(&self, folder: &Path, name: &str) -> Result<CertificateFiles> {
        let file = |extension| folder.join(format!("{name}.{extension}"));
        let files = CertificateFiles { certificate: file("crt"), key: file("key") };
        write(&files.certificate, &self.pem, 0o644)?;
        write(&files.key, &self.key_pem, 0o600)?;
        Ok(files)
    }
}

impl fmt::Debug for Certificate {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// Writes a file with this mode. Replaces an earlier one as a whole, so that a reader sees the old or the new one.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let new = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new);
    file.and_then(|mut file| file.write_all(text.as_bytes())).at("write", &new)?;
    fs::rename(&new, path).at("write", path)
}

fn for_server(names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)
        .map_err(|error| Error::misuse(format!("invalid name of a server in a certificate: {error}")))?;
    params.distinguished_name = named("server").distinguished_name;
    Ok(params)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn failed(error: rcgen::Error) -> Error {
    Error::io("cannot make a certificate", std::io::Error::other(error))
}
