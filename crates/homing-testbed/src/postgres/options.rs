//! What can be chosen before a server starts.

use std::net::SocketAddr;

use super::binaries::Binaries;
use crate::process::scratch::Scratch;

/// Options of a PostgreSQL server; see [`Postgres::options`](crate::Postgres::options).
///
/// Defaults: the name `primary` or `replica`, installed binaries as [`Binaries::find`] finds them,
/// a [`Scratch`] of its own, 100 connections, `fsync` on, and small buffers. A replica takes its
/// primary's binaries, connections, fsync and further settings unless it is given others.
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
}

/// Whether PostgreSQL waits for the disk at each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// As in production: figures measured on such a server mean something. The default.
    #[default]
    On,
    /// Faster. Data survives [`Postgres::kill`](crate::Postgres::kill), but not a crash of the machine.
    Off,
}

impl PostgresOptions {
    /// Names the server: see [`Postgres::name`](crate::Postgres::name). Letters, digits, `-` and `_`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Uses these programs. Default: [`Binaries::find`], or the primary's.
    pub fn with_binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Puts the server's folder into this scratch, to be removed with it. Default: one of its own.
    pub fn with_scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Makes a replica stream from this address instead of its primary's, such as that of a
    /// [`Relay`](crate::Relay) standing for the network between the two. Only the stream: the
    /// first copy is taken straight from the primary, so that a slow link does not slow the start.
    pub fn with_upstream(mut self, address: SocketAddr) -> Self {
        self.upstream = Some(address);
        self
    }

    /// `max_connections`. Default: 100. A replica's must not be below its primary's.
    pub fn with_max_connections(mut self, connections: u16) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Whether to wait for the disk. Default: [`Fsync::On`].
    pub fn with_fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = Some(fsync);
        self
    }

    /// Any other setting of `postgresql.conf`, such as `log_statement` with the value `all`. The
    /// last one of a name counts, also against what this crate sets.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
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

/// PostgreSQL's own default.
const DEFAULT_MAX_CONNECTIONS: u16 = 100;
