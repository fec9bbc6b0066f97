//! [`Address`], one server by one address.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::parameters;
use super::session_attrs::SessionAttrs;
use crate::error::{Error, Result};

/// A connection string that leads to exactly one server.
///
/// A host name may stand for several servers, and a position is reached on one server only. So the name is resolved once,
/// and the pool and the tracker of a database use this one address.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    name: String,
}

impl Address {
    /// Returns the addresses that a connection string stands for, in its order.
    ///
    /// `variable` names the setting of the string, for messages. The string itself may hold a password and is never shown.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the string is not a valid connection string with a host, if it requires TLS, or if a name
    /// cannot be resolved within five seconds.
    pub(crate) async fn resolve(url: &str, variable: &str) -> Result<Vec<Self>> {
        let config = Self::parse(url, variable)?;
        let mut addresses = Vec::new();
        for (index, host) in hosts(&config, variable)?.into_iter().enumerate() {
            let port = port(&config, index);
            match host {
                #[cfg(unix)]
                Host::Unix(path) => addresses.push(Self::unix(&config, &path, port)),
                Host::Tcp(host) => {
                    for ip in resolve_host(&host, port, variable).await? {
                        addresses.push(Self::tcp(&config, &host, ip, port));
                    }
                }
            }
        }
        Ok(addresses)
    }

    /// Parses a connection string without resolving its hosts. `variable` names its setting, for messages.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the string is not a valid connection string with a host, if a setting of it is invalid, or if
    /// it requires TLS.
    pub(crate) fn parse(url: &str, variable: &str) -> Result<Config> {
        let (url, _) = SessionAttrs::take(url, variable)?;
        // The driver's reason is left out: it quotes the part that it did not understand, which may hold the password.
        let config: Config = url.parse().map_err(|_: tokio_postgres::Error| not_valid(&url, variable))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(Error::configuration(format!(
                "{variable} asks for sslmode=require, but TLS is not supported: use sslmode=disable in a private network"
            )));
        }
        let is_name = |host: &Host| !matches!(host, Host::Tcp(host) if !is_host_name(host));
        if !hosts(&config, variable)?.iter().all(is_name) {
            return Err(Error::configuration(format!(
                "{variable} holds an invalid host name: write postgres://user:password@host:5432/database, with special \
                 characters of the password, such as @ and /, percent-encoded"
            )));
        }
        Ok(config)
    }

    /// Returns the hosts of a connection string with their ports, as text.
    pub(crate) fn name_of(config: &Config) -> String {
        let hosts = hosts(config, "").unwrap_or_default();
        let names = hosts.into_iter().enumerate().map(|(index, host)| {
            let port = port(config, index);
            match host {
                Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
                Host::Tcp(host) => format!("{host}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        names.collect::<Vec<_>>().join(",")
    }

    /// Returns the hosts of a connection string with their ports.
    pub(crate) fn targets(config: &Config) -> Vec<(Host, u16)> {
        let hosts = hosts(config, "").unwrap_or_default();
        hosts.into_iter().enumerate().map(|(index, host)| (host, port(config, index))).collect()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the address without the host name that led to it.
    pub(crate) fn authority(&self) -> &str {
        self.name.split(" (").next().unwrap_or(&self.name)
    }

    /// Returns a key that is equal for equal addresses, even if different host names led to them.
    pub(crate) fn key(&self) -> String {
        let authority = self.authority();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{authority}/{database}")
    }

    /// Returns the address of the server at `ip`, which the name `host` led to.
    pub(crate) fn tcp(config: &Config, host: &str, ip: IpAddr, port: u16) -> Self {
        let mut pinned = without_hosts(config);
        pinned.host(host).hostaddr(ip).port(port);
        let authority = match ip {
            IpAddr::V4(ip) => format!("{ip}:{port}"),
            IpAddr::V6(ip) => format!("[{ip}]:{port}"),
        };
        let named = host.parse::<IpAddr>().is_err();
        let name = if named { format!("{authority} ({host})") } else { authority };
        Self { config: pinned, name }
    }

    /// Returns the address of the server with a Unix socket in this folder.
    #[cfg(unix)]
    pub(crate) fn unix(config: &Config, path: &std::path::Path, port: u16) -> Self {
        let mut pinned = without_hosts(config);
        pinned.host_path(path).port(port);
        Self { config: pinned, name: format!("{} port {port}", path.display()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Address {
    /// Leaves out the configuration, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.name).finish()
    }
}

/// Returns the error for a string that is not a connection string.
fn not_valid(url: &str, variable: &str) -> Error {
    Error::configuration(match parameters::refused(url) {
        Some("sslmode") => format!(
            "the value of sslmode in {variable} is not supported, because TLS is not: use sslmode=disable in a private network"
        ),
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

/// Returns the hosts of a connection string. `hostaddr` wins over `host`, as in libpq.
fn hosts(config: &Config, variable: &str) -> Result<Vec<Host>> {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return Ok(addresses.iter().map(|ip| Host::Tcp(ip.to_string())).collect());
    }
    if config.get_hosts().is_empty() {
        return Err(Error::configuration(format!("{variable} does not name a host, such as localhost:5432")));
    }
    Ok(config.get_hosts().to_vec())
}

fn port(config: &Config, index: usize) -> u16 {
    let ports = config.get_ports();
    ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT)
}

async fn resolve_host(host: &str, port: u16, variable: &str) -> Result<Vec<IpAddr>> {
    let failed = |source: String| {
        Error::configuration(format!("cannot resolve the host {host} in {variable}: check it")).with_source(source)
    };
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((host, port)))
        .await
        .map_err(|_| failed("no answer in time".into()))?
        .map_err(|error| failed(error.to_string()))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

/// Returns whether the text can be a host name. If not, it may be the end of a password with an `@` in it.
fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|char| char.is_ascii_alphanumeric() || "-_.:".contains(char))
}

/// Returns the configuration without its hosts. The driver cannot remove a host, so everything else is copied.
fn without_hosts(from: &Config) -> Config {
    let mut to = Config::new();
    if let Some(user) = from.get_user() {
        to.user(user);
    }
    if let Some(password) = from.get_password() {
        to.password(password);
    }
    if let Some(database) = from.get_dbname() {
        to.dbname(database);
    }
    if let Some(options) = from.get_options() {
        to.options(options);
    }
    if let Some(interval) = from.get_keepalives_interval() {
        to.keepalives_interval(interval);
    }
    if let Some(retries) = from.get_keepalives_retries() {
        to.keepalives_retries(retries);
    }
    to.application_name(from.get_application_name().unwrap_or(APPLICATION_NAME))
        .connect_timeout(from.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT))
        .ssl_mode(SslMode::Disable)
        .channel_binding(from.get_channel_binding())
        .tcp_user_timeout(from.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT))
        .keepalives(from.get_keepalives())
        .keepalives_idle(from.get_keepalives_idle());
    to
}

const APPLICATION_NAME: &str = "homing";

/// How long it may take to open a connection. Long enough for a connection around the world with a lost packet, short
/// enough for an error within a call's time limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

const DEFAULT_PORT: u16 = 5432;

/// How long sent bytes may stay unacknowledged before the connection counts as lost. Without this, a caller would wait for
/// a vanished server for a quarter of an hour. Works on Linux only; elsewhere the driver ignores it.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to resolve one host name. tokio does it on its pool of blocking threads.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(url: &str) -> Vec<String> {
        let addresses = Address::resolve(url, "DATABASE_URL").await.unwrap();
        addresses.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn each_host_is_an_address() {
        assert_eq!(names("postgres://app:secret@127.0.0.1:5433,[::1]:5434/db").await, ["127.0.0.1:5433", "[::1]:5434"]);
        assert_eq!(names("host=/run/postgresql dbname=db").await, ["/run/postgresql port 5432"]);
    }

    #[tokio::test]
    async fn settings_of_the_string_are_kept() {
        let url = "postgres://app:secret@127.0.0.1/db?options=-c%20work_mem%3D1MB&connect_timeout=7";
        let address = Address::resolve(url, "DATABASE_URL").await.unwrap().remove(0);
        let config = address.config();
        assert_eq!(config.get_user(), Some("app"));
        assert_eq!(config.get_password(), Some(&b"secret"[..]));
        assert_eq!(config.get_dbname(), Some("db"));
        assert_eq!(config.get_options(), Some("-c work_mem=1MB"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_hosts().len(), 1);
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn refused_parameter_is_named() {
        for (parameter, part) in [
            ("sslmode=verify-full", "sslmode=disable"),
            ("sslrootcert=/ca.pem", "the parameter sslrootcert in DATABASE_URL"),
            ("statement_timeout=5000", "the parameter statement_timeout in DATABASE_URL"),
        ] {
            let error = Address::parse(&format!("postgres://app:secret@h/db?{parameter}"), "DATABASE_URL").unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains(part), "{error}");
            assert!(error.to_string().contains("DATABASE_URL") && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn mistakes_name_the_variable_only() {
        for url in [
            "postgres://app:secret@127.0.0.1:port/db",
            "secret",
            "dbname=secret",
            "host=a.invalid password=secret",
            "postgres://app:sec@secret@a.invalid/db",
        ] {
            let error = Address::resolve(url, "HOMING_REPLICA_URL").await.unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains("HOMING_REPLICA_URL"), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
