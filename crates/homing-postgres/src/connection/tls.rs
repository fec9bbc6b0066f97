//! [`Tls`], how the connections of one connection string are encrypted.

mod binding;
mod der;
mod failure;
mod files;
pub(super) mod handshake;
pub(crate) mod mode;
mod settings;
mod verifier;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use homing_rpc::Reloaded;
use rustls::ClientConfig;
use tokio_postgres::Config;
use tracing::warn;

use self::files::Files;
use self::handshake::Handshake;
use self::mode::{Encryption, SslMode};
use self::settings::{Roots, TlsSettings};
use super::source::{Look, read};
use super::taken::Taken;
use crate::error::{Error, Result};

/// How the connections of one connection string are encrypted. Cheap to clone.
///
/// The files that the string names are read when it is parsed, and again when a connection is opened, at most once a second. If
/// they have changed, the new ones count, unless they cannot be used.
#[derive(Clone)]
pub(crate) struct Tls(Arc<TlsInner>);

struct TlsInner {
    settings: TlsSettings,
    /// `None` if the connection string forbids TLS.
    config: Option<Reloaded<Arc<ClientConfig>>>,
}

impl Tls {
    /// The names of the settings that [`Taken`] takes out of a connection string.
    pub(super) const NAMES: [&str; 5] = TlsSettings::NAMES;

    /// Reads the settings of a connection string and the files that it names.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the settings are invalid or contradict each other, or if a file cannot be used.
    pub(super) fn read(taken: &Taken<'_>, config: &Config, variable: &str) -> Result<Self> {
        Self::load(TlsSettings::read(taken, config, variable)?, variable)
            .map_err(|complaint| Error::configuration(format!("{variable} cannot be used: {complaint}")))
    }

    /// Returns the encryption that a configuration of the driver asks for. It names no files, so no certificate is verified.
    pub(crate) fn of_driver(config: &Config) -> Self {
        let settings = TlsSettings::of_driver(config);
        Self::load(settings, "").unwrap_or_else(|complaint| {
            warn!(complaint, "cannot use TLS");
            let settings = TlsSettings { mode: SslMode::Disable, ..TlsSettings::default() };
            Self(Arc::new(TlsInner { settings, config: None }))
        })
    }

    pub(crate) fn mode(&self) -> SslMode {
        self.0.settings.mode
    }

    /// Returns whether the connection string itself asks for connections without TLS.
    pub(super) fn is_waived(&self) -> bool {
        self.0.settings.is_explicit && self.mode() == SslMode::Disable
    }

    /// Returns the attempts to connect to a server, in their order.
    pub(super) fn attempts(&self) -> &'static [Encryption] {
        self.0.settings.attempts()
    }

    /// Returns what one connection needs for its handshake, with the files as they are now.
    pub(super) fn handshake(&self) -> Handshake {
        Handshake::new(self.version(Look::IfDue), &self.0.settings)
    }

    /// Returns the files as they are now, in the form that rustls uses. Another version is another `Arc`.
    pub(super) fn version(&self, look: Look) -> Option<Arc<ClientConfig>> {
        self.0.config.as_ref().map(|config| read(config, look))
    }

    /// Returns whether the connection string names files, which may change.
    pub(super) fn names_files(&self) -> bool {
        self.0.settings.names_files()
    }

    /// Says what is wrong, as the end of a sentence about the database at an address, if an error is one of TLS.
    pub(super) fn explain(&self, error: &(dyn StdError + 'static)) -> Option<String> {
        failure::find(error).map(|error| failure::explain(error, &self.0.settings))
    }

    /// Returns the setting that demands TLS.
    pub(super) fn demand(&self) -> String {
        let TlsSettings { mode, binds_channel, .. } = self.0.settings;
        if binds_channel && mode < SslMode::Require {
            "channel_binding=require".into()
        } else {
            format!("sslmode={mode}")
        }
    }

    /// Returns what may be wrong if a server does not answer a handshake.
    pub(super) fn hint(&self) -> &'static str {
        if self.0.settings.is_direct { ": sslnegotiation=direct needs PostgreSQL 17 or later" } else { "" }
    }

    fn load(settings: TlsSettings, variable: &str) -> Result<Self, String> {
        let named = settings.clone();
        let load = move |before| -> Result<_, String> {
            let files = Files::read(&named)?;
            let digest = files.digest();
            if before == Some(digest) {
                return Ok(None);
            }
            Ok(Some((Arc::new(files.client_config(&named)?), digest)))
        };
        let config = match settings.mode {
            SslMode::Disable => None,
            _ => Some(Reloaded::loaded_by(WHAT, variable.to_owned(), load)?),
        };
        Ok(Self(Arc::new(TlsInner { settings, config })))
    }
}

impl TlsSettings {
    fn names_files(&self) -> bool {
        self.mode != SslMode::Disable && (self.client.is_some() || matches!(self.roots, Roots::File(_)))
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.settings.fmt(f)
    }
}

/// What files hold, for people.
const WHAT: &str = "the certificates for connections to the database";
