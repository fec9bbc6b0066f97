//! [`Address`], one server by one address.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::login::Login;
use super::passfile::Passfile;
use super::source::Look;
use super::string::{ConnectionString, Target, name_of};
use super::tls::Tls;
use crate::error::{Error, Result};

/// A connection string that leads to exactly one server.
///
/// A host name may stand for several servers, and a position is reached on one server only. So the name is resolved once,
/// and the pool and the tracker of a database use this one address.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    name: String,
    tls: Tls,
    /// The password file of the connection string.
    passfile: Option<Passfile>,
    /// The connection string, if it is read again.
    string: Option<ConnectionString>,
    /// Sets further options of each connection.
    set_options: fn(&mut Config),
    /// The user, if it is not that of the connection string.
    login: Option<Login>,
    /// Whether a warning about missing encryption has been logged. All clones share it.
    has_warned: Arc<AtomicBool>,
}

impl Address {
    /// Returns the addresses that a connection string stands for, in its order.
    ///
    /// `variable` names the setting of the string, for messages. The string itself may hold a password and is never shown.
    ///
    /// # Errors
    ///
    /// `is_configuration` if [`ConnectionString::parse`] fails, or if a name cannot be resolved within five seconds.
    #[cfg(test)]
    pub(crate) async fn resolve(url: &str, variable: &str) -> Result<Vec<Self>> {
        Self::resolve_string(&ConnectionString::parse(url, variable)?, variable).await
    }

    /// Returns the addresses that a connection string stands for, in its order.
    ///
    /// # Errors
    ///
    /// `is_configuration` if a name cannot be resolved within five seconds.
    pub(crate) async fn resolve_string(string: &ConnectionString, variable: &str) -> Result<Vec<Self>> {
        let mut addresses = Vec::new();
        for Target { host, address, port } in string.targets() {
            match (host, address) {
                #[cfg(unix)]
                (Host::Unix(path), _) => addresses.push(Self::unix(string, &path, port)),
                (Host::Tcp(host), Some(ip)) => addresses.push(Self::tcp(string, &host, ip, port)),
                (Host::Tcp(host), None) => {
                    for ip in resolve_host(&host, port, variable).await? {
                        addresses.push(Self::tcp(string, &host, ip, port));
                    }
                }
            }
        }
        Ok(addresses)
    }

    /// Returns the address of a configuration of the driver, which leads to one server.
    pub(crate) fn of_driver(config: Config) -> Self {
        let (name, tls) = (name_of(&config), Tls::of_driver(&config));
        Self {
            config,
            name,
            tls,
            passfile: None,
            string: None,
            set_options: |_| {},
            login: None,
            has_warned: Arc::default(),
        }
    }

    /// Returns the configuration of a new connection and its encryption. If the connection string is in a file, the user, the
    /// password and the other settings are those that the file has now. Host and database stay: an address leads to one
    /// database of one server.
    pub(super) fn config(&self, look: Look) -> (Config, Tls) {
        let string = self.string.as_ref().map(|string| string.current(look));
        let (mut config, tls) = match &string {
            None => (self.config.clone(), self.tls.clone()),
            Some(string) => self.config_of(string),
        };
        if let Some(login) = &self.login {
            login.set(&mut config, look);
        }
        let passfile = string.as_ref().map_or(self.passfile.as_ref(), ConnectionString::passfile);
        if let Some(passfile) = passfile {
            passfile.set(&mut config, look);
        }
        (config, tls)
    }

    /// Returns what the password file has to do with a failure to log in with this configuration, as the end of a sentence.
    /// Empty if the file was not needed.
    pub(super) fn passfile_hint(&self, config: &Config) -> String {
        if self.login.as_ref().is_some_and(Login::has_password) {
            return String::new();
        }
        let string = self.string.as_ref().map(|string| string.current(Look::IfDue));
        let passfile = string.as_ref().map_or(self.passfile.as_ref(), ConnectionString::passfile);
        passfile.map(|passfile| passfile.hint(config)).unwrap_or_default()
    }

    /// Returns what a connection string says now.
    fn config_of(&self, string: &ConnectionString) -> (Config, Tls) {
        let mut config = without_hosts(string.config());
        for host in self.config.get_hosts() {
            match host {
                Host::Tcp(host) => config.host(host),
                #[cfg(unix)]
                Host::Unix(path) => config.host_path(path),
            };
        }
        for address in self.config.get_hostaddrs() {
            config.hostaddr(*address);
        }
        for port in self.config.get_ports() {
            config.port(*port);
        }
        if let Some(database) = self.database() {
            config.dbname(database);
        }
        (self.set_options)(&mut config);
        (config, string.tls().clone())
    }

    /// Returns how long it may take to open a connection and to ask what it leads to: five seconds, or more if the connection
    /// string has a `connect_timeout` that needs it.
    pub(crate) fn opening_timeout(&self) -> Duration {
        let connect_timeout = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        connect_timeout.saturating_add(ASK_TIMEOUT).min(MAX_OPENING_TIMEOUT).max(CONNECT_TIMEOUT + ASK_TIMEOUT)
    }

    /// Returns whether the connection string, the password file or the password of another user may change.
    pub(super) fn may_change(&self) -> bool {
        self.string.is_some() || self.passfile.is_some() || self.login.as_ref().is_some_and(Login::may_change)
    }

    /// Returns the name of the database. PostgreSQL takes that of the user if the connection string has none.
    fn database(&self) -> Option<&str> {
        self.config.get_dbname().or(self.config.get_user())
    }

    /// Returns the address without the host name that led to it.
    pub(crate) fn authority(&self) -> &str {
        self.name.split(" (").next().unwrap_or(&self.name)
    }

    /// Returns a key that is equal for equal addresses, even if different host names led to them. With other encryption it is
    /// another one, so that no connection string gets connections that are less protected than it demands.
    pub(crate) fn key(&self) -> String {
        let authority = self.authority();
        let database = self.database().unwrap_or_default();
        format!("{authority}/{database} {:?}", self.tls)
    }

    /// Returns the address of the server at `ip`, which the name `host` led to. Its certificate has to be valid for `host`.
    pub(crate) fn tcp(string: &ConnectionString, host: &str, ip: IpAddr, port: u16) -> Self {
        let mut pinned = without_hosts(string.config());
        pinned.host(host).hostaddr(ip).port(port);
        let authority = match ip {
            IpAddr::V4(ip) => format!("{ip}:{port}"),
            IpAddr::V6(ip) => format!("[{ip}]:{port}"),
        };
        let named = host.parse::<IpAddr>().is_err();
        let name = if named { format!("{authority} ({host})") } else { authority };
        Self::pinned(string, pinned, name)
    }

    /// Returns the address of the server with a Unix socket in this folder.
    #[cfg(unix)]
    pub(crate) fn unix(string: &ConnectionString, path: &std::path::Path, port: u16) -> Self {
        let mut pinned = without_hosts(string.config());
        pinned.host_path(path).port(port);
        let name = format!("{} port {port}", path.display());
        Self::pinned(string, pinned, name)
    }

    fn pinned(string: &ConnectionString, config: Config, name: String) -> Self {
        Self {
            config,
            name,
            tls: string.tls().clone(),
            passfile: string.passfile().cloned(),
            string: string.may_change().then(|| string.clone()),
            set_options: |_| {},
            login: None,
            has_warned: Arc::default(),
        }
    }

    /// Returns the same address and database for another user.
    pub(super) fn of_login(&self, login: &Login) -> Self {
        let mut of_login = self.clone();
        // Without a name, the database would be that of the other user.
        let database = self.database().map(ToOwned::to_owned);
        database.map(|database| of_login.config.dbname(database));
        Self { login: Some(login.clone()), ..of_login }
    }

    /// Returns the same address with other options of the connection.
    pub(crate) fn with_options(mut self, set_options: fn(&mut Config)) -> Self {
        set_options(&mut self.config);
        Self { set_options, ..self }
    }

    /// Returns whether its connections do not leave this machine.
    pub(super) fn is_local(&self) -> bool {
        let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        let is_local_host = |host: &Host| match host {
            #[cfg(unix)]
            Host::Unix(_) => true,
            Host::Tcp(host) => host.parse().is_ok_and(is_loopback),
        };
        match self.config.get_hostaddrs() {
            [] => self.config.get_hosts().iter().all(is_local_host),
            addresses => addresses.iter().copied().all(is_loopback),
        }
    }

    /// Returns whether its connections use a Unix socket, which has no TLS.
    pub(super) fn is_unix(&self) -> bool {
        self.config.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_)))
    }

    /// Returns whether the caller is the first one that may warn about missing encryption.
    pub(super) fn may_warn(&self) -> bool {
        !self.has_warned.swap(true, Ordering::AcqRel)
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
        .ssl_negotiation(from.get_ssl_negotiation())
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

/// How long it may take, after that, to learn what a connection leads to, and to prepare the queries of a tracker: three
/// round trips.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A day: beyond it clocks overflow.
const MAX_OPENING_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long sent bytes may stay unacknowledged before the connection counts as lost. Without this, a caller would wait for
/// a vanished server for a quarter of an hour. Works on Linux only; elsewhere the driver ignores it.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to resolve one host name. tokio does it on its pool of blocking threads.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::tls::mode::SslMode;
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
        let (config, _) = address.config(Look::IfDue);
        assert_eq!(config.get_user(), Some("app"));
        assert_eq!(config.get_password(), Some(&b"secret"[..]));
        assert_eq!(config.get_dbname(), Some("db"));
        assert_eq!(config.get_options(), Some("-c work_mem=1MB"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_hosts().len(), 1);
        assert_eq!(address.opening_timeout(), Duration::from_secs(9));
        for url in ["postgres://127.0.0.1", "postgres://127.0.0.1?connect_timeout=1"] {
            let address = Address::resolve(url, "DATABASE_URL").await.unwrap().remove(0);
            assert_eq!(address.opening_timeout(), Duration::from_secs(5), "{url}");
        }
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[tokio::test]
    async fn changed_file_keeps_host_and_database() {
        let folder = homing_testbed::Scratch::new().unwrap();
        let path = folder.path().join("url");
        let write = |url: &str| std::fs::write(&path, url).unwrap();
        write("postgres://app:one@127.0.0.1:5433?sslmode=disable");
        let string = ConnectionString::in_file(&path, "a test").unwrap();
        let address = Address::resolve_string(&string, "a test").await.unwrap().remove(0);
        let address = address.with_options(|config| {
            config.application_name("tracker");
        });
        let key = address.key();
        write("postgres://new:two@10.0.0.1:5434/db?sslmode=require&options=-c%20work_mem%3D1MB&application_name=x");
        let (config, tls) = address.config(Look::Now);
        assert_eq!((config.get_user(), config.get_password()), (Some("new"), Some(&b"two"[..])));
        assert_eq!((config.get_options(), config.get_application_name()), (Some("-c work_mem=1MB"), Some("tracker")));
        assert_eq!((config.get_dbname(), config.get_ports()), (Some("app"), &[5433][..]));
        assert_eq!(config.get_hostaddrs(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!((tls.mode(), address.key()), (SslMode::Require, key));
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
