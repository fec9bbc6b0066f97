//! [`TlsSettings`], what a connection string says about TLS.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{self, ChannelBinding, Host, SslNegotiation};

use super::mode::{Encryption, SslMode};
use crate::connection::taken::Taken;
use crate::error::{Error, Result};

/// What a connection string says about TLS, with the meanings of libpq.
///
/// libpq also reads certificates in the home folder and variables of the environment. Homing does not: which servers a node
/// trusts is said by its connection string.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-SSLMODE>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    /// Whether the connection string itself names the mode.
    pub(super) is_explicit: bool,
    /// Whether the handshake begins at once. PostgreSQL 17 and later understand that.
    pub(super) is_direct: bool,
    /// Whether only a connection with TLS can authenticate.
    pub(super) binds_channel: bool,
    pub(super) roots: Roots,
    pub(super) client: Option<ClientFiles>,
    /// Whether the host's name is not sent in the handshake.
    pub(super) hides_name: bool,
}

/// The authorities that may have issued the certificate of a server.
///
/// Closed: these are libpq's values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Roots {
    /// Any: certificates are not verified.
    #[default]
    Any,

    /// Those of a file.
    File(PathBuf),

    /// Those that the system trusts.
    System,
}

/// The files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl TlsSettings {
    /// The names of the settings that [`Taken`] takes out of a connection string. The driver knows the other two:
    /// `channel_binding` and `sslnegotiation`.
    pub(crate) const NAMES: [&str; 5] = [MODE, ROOTS, CERTIFICATE, KEY, SNI];

    /// Reads the settings. `variable` names the setting of the connection string, for messages.
    ///
    /// # Errors
    ///
    /// `is_configuration` if a value is not one of libpq's, or if two settings contradict each other.
    pub(super) fn read(taken: &Taken<'_>, config: &Config, variable: &str) -> Result<Self> {
        let roots = match taken.filled(ROOTS) {
            None => Roots::Any,
            Some("system") => Roots::System,
            Some(path) => Roots::File(path.into()),
        };
        let unknown =
            |name, values| Error::configuration(format!("{variable} has an unknown value of {name}: write {values}"));
        let mode = match (taken.value(MODE), &roots) {
            (None, Roots::System) => SslMode::VerifyFull,
            (None, _) => SslMode::default(),
            (Some(name), _) => SslMode::of(name)
                .ok_or_else(|| unknown(MODE, "disable, allow, prefer, require, verify-ca or verify-full"))?,
        };
        let hides_name = match taken.filled(SNI) {
            None | Some("1") => false,
            Some("0") => true,
            Some(_) => return Err(unknown(SNI, "0 or 1")),
        };
        let client = match (taken.filled(CERTIFICATE), taken.filled(KEY)) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientFiles { certificate: certificate.into(), key: key.into() }),
            (Some(_), None) => return Err(missing(variable, CERTIFICATE, KEY)),
            (None, Some(_)) => return Err(missing(variable, KEY, CERTIFICATE)),
        };
        let settings = Self {
            mode,
            is_explicit: taken.value(MODE).is_some(),
            is_direct: config.get_ssl_negotiation() == SslNegotiation::Direct,
            binds_channel: config.get_channel_binding() == ChannelBinding::Require,
            roots,
            client,
            hides_name,
        };
        settings.check(config, variable)?;
        Ok(settings)
    }

    /// Returns the settings of a configuration of the driver, which names no files.
    pub(super) fn of_driver(config: &Config) -> Self {
        Self {
            mode: match config.get_ssl_mode() {
                config::SslMode::Disable => SslMode::Disable,
                config::SslMode::Prefer => SslMode::Prefer,
                _ => SslMode::Require,
            },
            is_explicit: true,
            is_direct: config.get_ssl_negotiation() == SslNegotiation::Direct,
            binds_channel: config.get_channel_binding() == ChannelBinding::Require,
            ..Self::default()
        }
    }

    /// Returns the attempts to connect to a server, in their order.
    pub(super) fn attempts(&self) -> &'static [Encryption] {
        if self.binds_channel { SslMode::Require.attempts() } else { self.mode.attempts() }
    }

    /// Returns whether the host's name has to be in the certificate of the server.
    pub(super) fn verifies_name(&self) -> bool {
        self.mode == SslMode::VerifyFull
    }

    fn check(&self, config: &Config, variable: &str) -> Result<()> {
        let has_name = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
        if !has_name && config.get_hostaddrs().is_empty() {
            // Unix sockets have no TLS, whatever the mode.
            return Ok(());
        }
        let mode = self.mode;
        let refuse = |message: String| Err(Error::configuration(format!("{variable} {message}")));
        if self.roots == Roots::System && mode < SslMode::VerifyFull {
            return refuse(format!(
                "has {ROOTS}=system with {MODE}={mode}, but public authorities issue certificates to \
                 everybody, so the name has to be verified: write {MODE}=verify-full"
            ));
        }
        if self.roots == Roots::Any && mode >= SslMode::VerifyCa {
            return refuse(format!(
                "has {MODE}={mode} and does not name an authority: add {ROOTS} with the file of the authority's \
                 certificate, or {ROOTS}=system with {MODE}=verify-full for the authorities that the system trusts"
            ));
        }
        if self.is_direct && mode < SslMode::Require {
            return refuse(format!(
                "has sslnegotiation=direct with {MODE}={mode}, which may go on without TLS: write {MODE}=require, \
                 verify-ca or verify-full"
            ));
        }
        if self.binds_channel && mode == SslMode::Disable {
            return refuse(format!(
                "has channel_binding=require with {MODE}=disable, but there is no channel binding without TLS: write \
                 {MODE}=require, verify-ca or verify-full"
            ));
        }
        if self.verifies_name() && !has_name {
            return refuse(format!(
                "has {MODE}=verify-full with hostaddr alone: add host with the name that the server's certificate has"
            ));
        }
        Ok(())
    }
}

fn missing(variable: &str, given: &str, missing: &str) -> Error {
    Error::configuration(format!("{variable} has {given} without {missing}: name both files, or neither"))
}

const MODE: &str = "sslmode";
pub(super) const ROOTS: &str = "sslrootcert";
pub(super) const CERTIFICATE: &str = "sslcert";
pub(super) const KEY: &str = "sslkey";
const SNI: &str = "sslsni";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TlsSettings> {
        let taken = Taken::new(text, &TlsSettings::NAMES);
        TlsSettings::read(&taken, &taken.rest.parse().unwrap(), "DATABASE_URL")
    }

    /// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-SSLMODE>
    #[test]
    fn settings_mean_what_libpq_says() {
        use Encryption::{Always, IfOffered, Never};
        use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        let file = || Roots::File("/ca.pem".into());
        for (url, pairs, mode, roots, attempts) in [
            ("", "", Prefer, Roots::Any, &[IfOffered, Never][..]),
            ("sslmode=disable", "sslmode=disable", Disable, Roots::Any, &[Never]),
            ("sslmode=allow", "sslmode = allow", Allow, Roots::Any, &[Never, Always]),
            ("sslmode=prefer", "sslmode='prefer'", Prefer, Roots::Any, &[IfOffered, Never]),
            ("sslmode=require", "sslmode=require", Require, Roots::Any, &[Always]),
            ("ssl=true", "sslmode=require", Require, Roots::Any, &[Always]),
            ("sslmode=require&sslrootcert=/ca.pem", "sslmode=require sslrootcert=/ca.pem", Require, file(), &[Always]),
            ("sslrootcert=%2Fca.pem", "sslrootcert=/ca.pem", Prefer, file(), &[IfOffered, Never]),
            ("sslmode=require&sslrootcert=", "sslmode=require sslrootcert=''", Require, Roots::Any, &[Always]),
            (
                "sslmode=verify-ca&sslrootcert=/ca.pem",
                "sslmode=verify-ca sslrootcert=/ca.pem",
                VerifyCa,
                file(),
                &[Always],
            ),
            (
                "sslmode=verify-full&sslrootcert=/ca.pem",
                "sslrootcert=/ca.pem sslmode=verify-full",
                VerifyFull,
                file(),
                &[Always],
            ),
            ("sslrootcert=system", "sslrootcert=system", VerifyFull, Roots::System, &[Always]),
            ("channel_binding=require", "channel_binding=require", Prefer, Roots::Any, &[Always]),
        ] {
            for text in [format!("postgres://app:p@h/db?{url}"), format!("host=h user=app {pairs}")] {
                let settings = read(&text).unwrap();
                assert_eq!((settings.mode, &settings.roots, settings.attempts()), (mode, &roots, attempts), "{text}");
            }
        }
    }

    #[test]
    fn further_settings_are_read() {
        let settings =
            read("postgres://h?sslcert=/c&sslkey=/k&sslsni=0&sslmode=require&sslnegotiation=direct").unwrap();
        assert_eq!(settings.client, Some(ClientFiles { certificate: "/c".into(), key: "/k".into() }));
        assert!(settings.hides_name && settings.is_direct && settings.is_explicit && !settings.binds_channel);
        let settings = read("host=h sslcert='' sslkey='' sslsni=1").unwrap();
        assert_eq!(settings, TlsSettings::default());
        let address = read("host=db.example hostaddr=10.0.0.1 sslmode=verify-full sslrootcert=/ca.pem").unwrap();
        assert!(address.verifies_name());
    }

    #[test]
    fn contradictions_name_the_variable() {
        for (parameters, part) in [
            ("sslmode=full", "unknown value of sslmode"),
            ("sslmode=", "unknown value of sslmode"),
            ("sslsni=yes", "unknown value of sslsni"),
            ("sslmode=require&sslrootcert=system", "sslrootcert=system with sslmode=require"),
            ("sslmode=verify-ca&sslrootcert=system", "sslrootcert=system with sslmode=verify-ca"),
            ("sslmode=verify-full", "does not name an authority"),
            ("sslmode=verify-ca", "does not name an authority"),
            ("sslcert=/c", "sslcert without sslkey"),
            ("sslkey=/k", "sslkey without sslcert"),
            ("sslnegotiation=direct", "sslnegotiation=direct with sslmode=prefer"),
            ("sslmode=disable&channel_binding=require", "channel_binding=require with sslmode=disable"),
        ] {
            let error = read(&format!("postgres://app:geheim@h/db?{parameters}")).unwrap_err();
            let message = error.to_string();
            assert!(
                error.is_configuration() && message.contains("DATABASE_URL") && message.contains(part),
                "{message}"
            );
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
        let error = read("hostaddr=10.0.0.1 sslmode=verify-full sslrootcert=/ca.pem").unwrap_err();
        assert!(error.to_string().contains("hostaddr alone"), "{error}");
    }
}
