//! [`ConnectionString`], a connection string after parsing.

use std::net::IpAddr;
use std::path::Path;

use homing_rpc::Reloaded;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::parameters;
use super::passfile::Passfile;
use super::session_attrs::SessionAttrs;
use super::source::{Look, Source, read, text_of, unusable};
use super::taken::Taken;
use super::tls::Tls;
use crate::error::{Error, Result};

/// A connection string after parsing: the driver's part, and the settings that the driver does not know.
#[derive(Clone)]
pub(crate) struct ConnectionString {
    config: Config,
    session_attrs: SessionAttrs,
    tls: Tls,
    /// `None` if the string has a password.
    passfile: Option<Passfile>,
    /// Where the string is read again. `None` if it never changes.
    source: Option<Source<Self>>,
}

/// A host of a connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name or the address of the host. A server's certificate has to be valid for it.
    pub(crate) host: Host,
    /// The address to connect to, if the string has one in `hostaddr`.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl ConnectionString {
    /// Parses a connection string without resolving its hosts. Reads the certificates that it names, which blocks for a
    /// moment. `variable` names the setting of the string, for messages. The string may hold a password and is never shown.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the string is not a valid connection string with a host, if a setting of it is invalid, or if a
    /// file that it names cannot be used.
    pub(crate) fn parse(text: &str, variable: &str) -> Result<Self> {
        let taken = Taken::new(text, &TAKEN);
        // The driver's reason is left out: it quotes the part that it did not understand, which may hold the password.
        let config: Config = taken.rest.parse().map_err(|_: tokio_postgres::Error| not_valid(&taken.rest, variable))?;
        check_hosts(&config, variable)?;
        let session_attrs = SessionAttrs::read(&taken, variable)?;
        let tls = Tls::read(&taken, &config, variable)?;
        let passfile = Passfile::read(&taken, &config);
        Ok(Self { config, session_attrs, tls, passfile, source: None })
    }

    /// Reads the connection string in a file, which is read again for each new connection, at most once a second. `variable`
    /// names the setting with the path, for messages.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the file cannot be read, and for the reasons of [`parse`](Self::parse).
    pub(crate) fn in_file(path: &Path, variable: &str) -> Result<Self> {
        let name = variable.to_owned();
        let parse =
            move |contents: &[Vec<u8>]| Self::parse(text_of(contents[0].trim_ascii(), "a connection string")?, &name);
        let file = Reloaded::new("the connection string", vec![path.to_owned()], parse);
        let file = file.map_err(|error| unusable(variable, error))?;
        let string = file.current();
        Ok(string.with_source(Source::new(move |look| Some(read(&file, look)))))
    }

    /// Sets where the string is read again.
    pub(crate) fn with_source(self, source: Source<Self>) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns whether it may change.
    pub(crate) fn may_change(&self) -> bool {
        self.source.is_some()
    }

    /// Returns the string as its file has it now. If the file no longer has it, it is the last one.
    pub(crate) fn current(&self, look: Look) -> Self {
        let read = self.source.as_ref().and_then(|source| source.read(look));
        Self { source: self.source.clone(), ..read.unwrap_or_else(|| self.clone()) }
    }

    /// Returns its hosts.
    pub(crate) fn targets(&self) -> Vec<Target> {
        targets(&self.config)
    }

    /// Returns its hosts with their ports, as text.
    pub(crate) fn name(&self) -> String {
        name_of(&self.config)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns which of its servers answer reads.
    pub(crate) fn session_attrs(&self) -> SessionAttrs {
        self.session_attrs
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Returns the password file, if the string has no password.
    pub(super) fn passfile(&self) -> Option<&Passfile> {
        self.passfile.as_ref()
    }
}

impl PartialEq for ConnectionString {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
            && self.session_attrs == other.session_attrs
            && self.tls == other.tls
            && self.passfile == other.passfile
    }
}

impl Eq for ConnectionString {}

impl std::fmt::Debug for ConnectionString {
    /// Leaves out what may hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConnectionString").field(&self.name()).finish()
    }
}

/// Returns the hosts of a configuration with their ports, as text.
pub(super) fn name_of(config: &Config) -> String {
    let names = targets(config).into_iter().map(|Target { host, address, port }| {
        let host = address.map_or(host, |address| Host::Tcp(address.to_string()));
        match host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    names.collect::<Vec<_>>().join(",")
}

/// Returns the hosts of a configuration. `hostaddr` gives the address and `host` the name, as in libpq.
fn targets(config: &Config) -> Vec<Target> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let all = (0..hosts.len().max(addresses.len())).map(|index| {
        let address = addresses.get(index).copied();
        let host = hosts.get(index).cloned().or_else(|| Some(Host::Tcp(address?.to_string())));
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        host.map(|host| Target { host, address, port })
    });
    all.flatten().collect()
}

fn check_hosts(config: &Config, variable: &str) -> Result<()> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return Err(Error::configuration(format!("{variable} does not name a host, such as localhost:5432")));
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(Error::configuration(format!(
            "{variable} has {} in host and {} in hostaddr: name as many addresses as hosts",
            hosts.len(),
            addresses.len()
        )));
    }
    let is_name = |host: &Host| !matches!(host, Host::Tcp(host) if !is_host_name(host));
    if !hosts.iter().all(is_name) {
        return Err(Error::configuration(format!(
            "{variable} holds an invalid host name: write postgres://user:password@host:5432/database, with special \
             characters of the password, such as @ and /, percent-encoded"
        )));
    }
    Ok(())
}

/// Returns the error for a string that is not a connection string.
fn not_valid(text: &str, variable: &str) -> Error {
    Error::configuration(match parameters::refused(text) {
        Some(name) => format!(
            "the parameter {name} in {variable}, or its value, is not supported: correct it or remove it; the supported ones \
             are {}",
            parameters::SUPPORTED.join(", ")
        ),
        None => format!(
            "{variable} is not a connection string of PostgreSQL: write postgres://user:password@host:5432/database, with \
             special characters percent-encoded"
        ),
    })
}

/// Returns whether the text can be a host name. If not, it may be the end of a password with an `@` in it.
fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|char| char.is_ascii_alphanumeric() || "-_.:".contains(char))
}

/// The settings that are taken out of a connection string before the driver parses it.
pub(super) const TAKEN: [&str; 7] = {
    let [mode, roots, certificate, key, sni] = Tls::NAMES;
    [SessionAttrs::NAME, Passfile::NAME, mode, roots, certificate, key, sni]
};

const DEFAULT_PORT: u16 = 5432;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_parameter_is_named() {
        for (parameter, part) in [
            ("sslmode=always", "unknown value of sslmode"),
            ("sslrootcert=/no/such/ca.pem", "cannot read /no/such/ca.pem, which sslrootcert names"),
            ("sslcrl=/crl.pem", "the parameter sslcrl in DATABASE_URL"),
            ("statement_timeout=5000", "the parameter statement_timeout in DATABASE_URL"),
        ] {
            let error = ConnectionString::parse(&format!("postgres://app:secret@h/db?{parameter}"), "DATABASE_URL");
            let error = error.unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains(part), "{error}");
            assert!(error.to_string().contains("DATABASE_URL") && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn hostaddr_is_the_address_of_host() {
        let targets = |text| ConnectionString::parse(text, "DATABASE_URL").map(|string| string.targets());
        let target = |host: &str, address: Option<&str>, port| Target {
            host: Host::Tcp(host.into()),
            address: address.map(|ip| ip.parse().unwrap()),
            port,
        };
        assert_eq!(
            targets("host=a.example,b.example hostaddr=10.0.0.1,::1 port=1,2").unwrap(),
            [target("a.example", Some("10.0.0.1"), 1), target("b.example", Some("::1"), 2)]
        );
        assert_eq!(targets("hostaddr=10.0.0.1").unwrap(), [target("10.0.0.1", Some("10.0.0.1"), 5432)]);
        assert_eq!(targets("postgres://a.example").unwrap(), [target("a.example", None, 5432)]);
        assert!(targets("host=a.example hostaddr=10.0.0.1,10.0.0.2").unwrap_err().is_configuration());
    }
}
