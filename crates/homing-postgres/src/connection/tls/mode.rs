//! [`SslMode`], how far a connection has to be protected.

use std::fmt;

/// The value of `sslmode` in a connection string. The values and their meanings are libpq's, of which the driver knows three.
/// A greater one protects more.
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
///
/// Closed: these are libpq's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    /// Without TLS.
    Disable,

    /// Without TLS, or with TLS if the server refuses that.
    Allow,

    /// With TLS, or without TLS if the server does not offer TLS or refuses it.
    #[default]
    Prefer,

    /// With TLS. The certificate is verified only if an authority is named.
    Require,

    /// With TLS and a certificate of a named authority.
    VerifyCa,

    /// With TLS and a certificate of a named authority for the host of the connection string.
    VerifyFull,
}

/// How one attempt to connect treats TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Does not ask for TLS.
    Never,

    /// Asks for TLS, and goes on without it if the server does not offer it.
    IfOffered,

    /// Asks for TLS, and fails if the server does not offer it.
    Always,
}

impl SslMode {
    /// Returns the mode with this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Returns the attempts to connect to a server, in their order. The second one is made if the first one fails because of
    /// its encryption.
    pub(super) fn attempts(self) -> &'static [Encryption] {
        match self {
            Self::Disable => &[Encryption::Never],
            Self::Allow => &[Encryption::Never, Encryption::Always],
            Self::Prefer => &[Encryption::IfOffered, Encryption::Never],
            Self::Require | Self::VerifyCa | Self::VerifyFull => &[Encryption::Always],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    pub(super) const ALL: [Self; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
