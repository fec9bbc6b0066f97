//! TLS for all servers of a test run, if `HOMING_TEST_TLS` says so.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::certificate::{self, Certificate, CertificateAuthority};
use crate::error::Result;
use crate::process::scratch::Scratch;

/// The authority of all servers of this process that have no certificate of their own.
pub(super) struct Everywhere {
    authority: CertificateAuthority,
    /// The file of its certificate.
    root: PathBuf,
    /// Holds the file.
    _folder: Scratch,
}

impl Everywhere {
    /// Returns the authority if `HOMING_TEST_TLS` is `1`.
    pub(super) fn wanted() -> Result<Option<&'static Self>> {
        static WANTED: OnceLock<Everywhere> = OnceLock::new();
        if std::env::var(VARIABLE).is_ok_and(|value| value == "1") {
            if WANTED.get().is_none() {
                // A second one at the same time is dropped.
                let _ = WANTED.set(Self::new()?);
            }
            return Ok(WANTED.get());
        }
        Ok(None)
    }

    /// Issues the certificate of a server.
    pub(super) fn issue(&self) -> Result<Certificate> {
        self.authority.issue(&["127.0.0.1", "localhost"])
    }

    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    fn new() -> Result<Self> {
        let (authority, folder) = (CertificateAuthority::new("homing-testbed")?, Scratch::new()?);
        let root = folder.path().join("root.crt");
        certificate::write(&root, authority.pem(), 0o644)?;
        Ok(Self { authority, root, _folder: folder })
    }
}

const VARIABLE: &str = "HOMING_TEST_TLS";
