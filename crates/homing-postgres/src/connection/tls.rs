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
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use tokio::task::spawn_blocking;
use tokio_postgres::Config;
use tracing::{info, warn};

use self::files::Files;
use self::handshake::Handshake;
use self::mode::{Encryption, SslMode};
use self::settings::{Roots, TlsSettings};
use super::taken::Taken;
use crate::error::{Error, Result};

/// How the connections of one connection string are encrypted. Cheap to clone.
///
/// The files that the string names are read when it is parsed, and again when a connection is opened. If they have changed,
/// the new ones count, unless they cannot be used.
#[derive(Clone)]
pub(crate) struct Tls(Arc<TlsInner>);

struct TlsInner {
    settings: TlsSettings,
    /// The name of the setting with the connection string, for messages.
    variable: String,
    /// The lock is held to read or replace the value only.
    loaded: Mutex<Loaded>,
}

/// What was read last.
#[derive(Clone)]
struct Loaded {
    /// `None` if the connection string forbids TLS.
    config: Option<Arc<ClientConfig>>,
    digest: [u8; 32],
    /// Why the files cannot be used since then.
    complaint: Option<String>,
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
            Self::of(settings, "", Loaded { config: None, digest: [0; 32], complaint: None })
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
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn handshake(&self) -> Handshake {
        if self.0.settings.names_files() {
            let tls = self.clone();
            // A panic of it leaves what was read before.
            let _ = spawn_blocking(move || tls.reload()).await;
        }
        Handshake::new(self.loaded().config, &self.0.settings)
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
        let mut loaded = Loaded { config: None, digest: [0; 32], complaint: None };
        if settings.mode != SslMode::Disable {
            let files = Files::read(&settings)?;
            loaded.digest = files.digest();
            loaded.config = Some(Arc::new(files.client_config(&settings)?));
        }
        Ok(Self::of(settings, variable, loaded))
    }

    fn of(settings: TlsSettings, variable: &str, loaded: Loaded) -> Self {
        Self(Arc::new(TlsInner { settings, variable: variable.to_owned(), loaded: Mutex::new(loaded) }))
    }

    /// Reads the files again. This blocks.
    fn reload(&self) {
        let TlsInner { settings, variable, .. } = &*self.0;
        let before = self.loaded();
        let after = Files::read(settings).and_then(|files| {
            let digest = files.digest();
            let config = match digest == before.digest {
                true => before.config.clone(),
                false => Some(Arc::new(files.client_config(settings)?)),
            };
            Ok(Loaded { config, digest, complaint: None })
        });
        let after = match after {
            Ok(after) => {
                if after.digest != before.digest {
                    info!(variable, "the certificates for connections to the database have changed");
                }
                after
            }
            Err(complaint) => {
                if before.complaint.as_ref() != Some(&complaint) {
                    warn!(variable, complaint, "cannot use the changed certificates: keeping those from before");
                }
                Loaded { complaint: Some(complaint), ..before }
            }
        };
        *self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner) = after;
    }

    fn loaded(&self) -> Loaded {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
