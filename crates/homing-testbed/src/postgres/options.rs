//! The options of a server.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::binaries::Binaries;
use crate::certificate::{Certificate, CertificateAuthority};
use crate::process::scratch::Scratch;

/// Options of a PostgreSQL server; see [`Postgres::options`](crate::Postgres::options).
///
/// Defaults: the name `primary` or `replica`, the programs that [`Binaries::find`] finds, a new
/// [`Scratch`], 100 connections, `fsync` on, and small buffers. A replica inherits the programs,
/// connections, fsync and other settings of its primary, unless its own options set them.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a server is started with them"]
pub struct PostgresOptions {
    pub(super) name: Option<String>,
    pub(super) binaries: Option<Binaries>,
    pub(super) scratch: Option<Scratch>,
    pub(super) upstream: Option<SocketAddr>,
    pub(super) max_connections: Option<u16>,
    pub(super) fsync: Option<Fsync>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) certificate: Option<Certificate>,
    /// The certificate of the authority of clients, in PEM.
    pub(super) client_authority: Option<String>,
    pub(super) access: Option<String>,
    /// The file of the authority that connection URLs name.
    pub(super) root: Option<PathBuf>,
}

/// Whether PostgreSQL waits for the disk at each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// It waits, as in production, so that measurements are meaningful. The default.
    #[default]
    On,
    /// It does not wait, which is faster. Data survives
    /// [`Postgres::kill`](crate::Postgres::kill), but not a crash of the machine.
    Off,
}

impl PostgresOptions {
    /// Sets the [name](crate::Postgres::name) of the server: letters, digits, `-` and `_`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Uses these programs. Default: those of [`Binaries::find`], or those of the primary.
    pub fn with_binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Puts the server's folder into this scratch, and removes it with the scratch. Default: a new
    /// scratch.
    pub fn with_scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Makes a replica stream from this address, such as a [`Relay`](crate::Relay) for the network
    /// between the two. Default: the address of its primary.
    ///
    /// Only the stream uses it. The first copy comes directly from the primary, so that a slow link
    /// does not slow the start.
    pub fn with_upstream(mut self, address: SocketAddr) -> Self {
        self.upstream = Some(address);
        self
    }

    /// Sets `max_connections`. Default: 100. A replica needs at least as many as its primary.
    pub fn with_max_connections(mut self, connections: u16) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets whether PostgreSQL waits for the disk. Default: [`Fsync::On`].
    pub fn with_fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = Some(fsync);
        self
    }

    /// Sets any other setting of `postgresql.conf`, such as `log_statement` with the value `all`. It
    /// overrides earlier values of the same name, including those of this crate.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Serves TLS with this certificate, besides connections without TLS. A replica has the certificate of its primary
    /// unless it has one of its own.
    pub fn with_certificate(mut self, certificate: &Certificate) -> Self {
        self.certificate = Some(certificate.clone());
        self.with_setting("ssl", "on")
    }

    /// Accepts client certificates of this authority. They are demanded only by rules of
    /// [`with_access`](Self::with_access).
    pub fn with_client_authority(mut self, authority: &CertificateAuthority) -> Self {
        self.client_authority = Some(authority.pem().to_owned());
        self.with_setting("ssl_ca_file", AUTHORITY_FILE)
    }

    /// Replaces the rules of `pg_hba.conf`, which say who may connect and how. The superuser `postgres` may always connect.
    /// Default: all clients may.
    pub fn with_access(mut self, rules: impl Into<String>) -> Self {
        self.access = Some(rules.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(super) fn max_connections(&self) -> u16 {
        self.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS)
    }

    pub(super) fn fsync(&self) -> Fsync {
        self.fsync.unwrap_or_default()
    }

    pub(super) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }
}

/// The name of the file in the data directory.
pub(super) const AUTHORITY_FILE: &str = "root.crt";

/// PostgreSQL's own default.
const DEFAULT_MAX_CONNECTIONS: u16 = 100;
