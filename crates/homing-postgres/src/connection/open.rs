//! How a connection is opened, with TLS or without, and [`Cancellation`], which cancels a statement on it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_postgres::config::SslMode as DriverMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, Socket};
use tracing::{Level, info, warn};

use super::address::Address;
use super::source::Look;
use super::tls::Tls;
use super::tls::handshake::{Handshake, Stage, TlsStream};
use super::tls::mode::{Encryption, SslMode};
use crate::error::database::DatabaseError;

/// The connection behind a client, which has to be driven.
pub(crate) type DriverConnection = Connection<Socket, TlsStream>;

impl Address {
    /// Opens a connection, with TLS as the connection string asks for it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is closed.
    pub(crate) async fn connect(&self) -> Result<(Client, DriverConnection), ConnectError> {
        let (config, tls) = self.config(Look::IfDue);
        let files = tls.version(Look::IfDue);
        let error = match self.connect_with(&config, &tls).await {
            Err(error) if self.may_change() || tls.names_files() => error,
            outcome => return outcome,
        };
        // The files may have changed a moment ago, together with the password or the server's certificate.
        let (changed, changed_tls) = self.config(Look::Now);
        if changed == config && changed_tls == tls && is_same(changed_tls.version(Look::Now), files) {
            return Err(error);
        }
        self.connect_with(&changed, &changed_tls).await
    }

    async fn connect_with(&self, config: &Config, tls: &Tls) -> Result<(Client, DriverConnection), ConnectError> {
        let attempts = if self.is_unix() { &[Encryption::Never] } else { tls.attempts() };
        let mut first: Option<ConnectError> = None;
        for encryption in attempts {
            let handshake = tls.handshake();
            let mut config = config.clone();
            config.ssl_mode(driver_mode(*encryption));
            let error = match config.connect(handshake.clone()).await {
                Ok(opened) => {
                    if handshake.stage() != Stage::Done {
                        self.note_missing_encryption(tls, first.as_ref());
                    }
                    return Ok(opened);
                }
                Err(error) => error,
            };
            let may_differ = may_differ(*encryption, handshake.stage(), &error);
            let hint = self.passfile_hint(&config);
            let error = ConnectError::explained(error, *encryption, &handshake, tls, &hint);
            match first {
                Some(first) => return Err(error.after(first, *encryption)),
                None if !may_differ => return Err(error),
                None => first = Some(error),
            }
        }
        Err(first.expect("there is an attempt, and each one without a connection leaves an error"))
    }

    /// Returns what cancels the statements of a client that was [opened](Self::connect) at this address.
    pub(crate) fn cancellation(&self, client: &Client) -> Cancellation {
        Cancellation { token: client.cancel_token(), tls: self.config(Look::IfDue).1 }
    }

    /// Says once that a connection that leaves this machine is not encrypted.
    fn note_missing_encryption(&self, tls: &Tls, refusal: Option<&ConnectError>) {
        let (sslmode, refusal) = (tls.mode(), refusal.map(ToString::to_string));
        match self.level_of_missing_encryption(tls) {
            Some(Level::WARN) => warn!(
                address = %self,
                %sslmode,
                refusal,
                "connections to the database are not encrypted: set sslmode=verify-full in the connection string, or \
                 sslmode=disable in a network that encrypts by itself"
            ),
            Some(_) => info!(address = %self, %sslmode, "connections to the database are not encrypted"),
            None => {}
        }
    }

    /// Returns how important it is that connections are not encrypted. `None` if they do not leave this machine, or if it has
    /// been said.
    ///
    /// If the connection string has `sslmode=disable`, its author knows it. In a network that encrypts by itself, a warning
    /// would come at each start, and hide others.
    fn level_of_missing_encryption(&self, tls: &Tls) -> Option<Level> {
        let level = if tls.is_waived() { Level::INFO } else { Level::WARN };
        (!self.is_local() && self.may_warn()).then_some(level)
    }
}

/// Cancels the statement that runs on a connection.
#[derive(Clone)]
pub(crate) struct Cancellation {
    token: CancelToken,
    tls: Tls,
}

impl Cancellation {
    /// Asks the server to cancel the statement, over a connection that is encrypted like the one that it runs on. The server
    /// does not say whether it did.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the request may have been sent.
    pub(crate) async fn request(&self) -> Result<(), ConnectError> {
        let handshake = self.tls.handshake();
        let sent = self.token.cancel_query(handshake.clone()).await;
        sent.map_err(|error| ConnectError::explained(error, Encryption::Never, &handshake, &self.tls, ""))
    }
}

fn is_same<T>(one: Option<Arc<T>>, other: Option<Arc<T>>) -> bool {
    one.map(|one| Arc::as_ptr(&one)) == other.map(|other| Arc::as_ptr(&other))
}

fn driver_mode(encryption: Encryption) -> DriverMode {
    match encryption {
        Encryption::Never => DriverMode::Disable,
        Encryption::IfOffered => DriverMode::Prefer,
        Encryption::Always => DriverMode::Require,
    }
}

/// Returns whether an attempt with another encryption may succeed, by the rules of libpq.
///
/// In one case libpq tries more: it repeats a password that was refused over TLS without TLS, where it can be read.
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS>
fn may_differ(encryption: Encryption, stage: Stage, error: &Error) -> bool {
    match (encryption, stage) {
        (Encryption::Never, _) => error.as_db_error().is_some(),
        (_, Stage::NotBegun) => false,
        (_, Stage::Begun) => true,
        // pg_hba.conf refuses the connection.
        (_, Stage::Done) => error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
    }
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(crate) struct ConnectError {
    error: Error,
    /// The reason, as the end of a sentence about the database at an address. `None` if the driver's error says it.
    reason: Option<String>,
}

impl ConnectError {
    /// Explains an error. `hint` is that of the password file.
    fn explained(error: Error, encryption: Encryption, handshake: &Handshake, tls: &Tls, hint: &str) -> Self {
        let reason = reason(&error, encryption, handshake.stage(), tls, hint);
        Self { error, reason }
    }

    /// Adds the reason why an earlier attempt failed. `encryption` is that of the later one.
    fn after(self, first: Self, encryption: Encryption) -> Self {
        let (first_way, second_way) =
            if encryption == Encryption::Never { ("with TLS", "without TLS") } else { ("without TLS", "with TLS") };
        let reason = format!("{first_way}, {}; {second_way}, {}", first.said(), self.said());
        Self { reason: Some(reason), ..self }
    }

    /// Returns the reason, as the end of a sentence, if there is more to say than the driver does.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.clone().or_else(|| self.error.as_db_error().map(said_by_server))
    }

    pub(crate) fn as_db_error(&self) -> Option<&DbError> {
        self.error.as_db_error()
    }

    /// Returns the error of the driver.
    pub(crate) fn into_driver(self) -> Error {
        self.error
    }

    fn said(&self) -> String {
        self.reason().unwrap_or_else(|| self.error.to_string())
    }
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self { error, reason: None }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said())
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// Returns the reason of an error if TLS or the password file has to do with it.
fn reason(error: &Error, encryption: Encryption, stage: Stage, tls: &Tls, hint: &str) -> Option<String> {
    if let Some(explained) = tls.explain(error) {
        return Some(explained);
    }
    if let Some(refused) = error.as_db_error() {
        if *refused.code() == SqlState::INVALID_PASSWORD {
            return Some(format!("{}{hint}", said_by_server(refused)));
        }
        let is_refusal = *refused.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
        return (is_refusal && tls.mode() == SslMode::Disable)
            .then(|| format!("{}; the connection was without TLS, as sslmode=disable says", said_by_server(refused)));
    }
    let cause = error.source()?;
    let is_io = cause.is::<io::Error>();
    match stage {
        Stage::NotBegun if encryption == Encryption::Always && !is_io => Some(format!(
            "it does not offer TLS, which {} demands: set ssl = on in the server's configuration, or use a weaker sslmode in \
             a network that you trust",
            tls.demand()
        )),
        Stage::Begun => Some(format!("the TLS handshake failed: {cause}{}", tls.hint())),
        // The driver's own reasons, such as a missing password or missing channel binding.
        _ if !is_io => Some(format!("{error}: {cause}{hint}")),
        _ => None,
    }
}

fn said_by_server(error: &DbError) -> String {
    DatabaseError::from(error).to_string()
}

#[cfg(test)]
mod tests {
    use homing_testbed::{Postgres, Scratch};

    use super::super::string::ConnectionString;
    use super::*;

    #[tokio::test]
    async fn failure_reads_the_file_again() {
        let rules = "host all app 127.0.0.1/32 scram-sha-256\n";
        let server = Postgres::options().with_access(rules).start().await.unwrap();
        server.connect().await.unwrap().batch_execute("create role app login password 'right'").await.unwrap();
        let folder = Scratch::new().unwrap();
        let path = folder.path().join("url");
        let write = |password: &str| {
            std::fs::write(&path, format!("postgres://app:{password}@{}/postgres", server.address())).unwrap();
        };
        write("wrong");
        let string = ConnectionString::in_file(&path, "a test").unwrap();
        let address = Address::resolve_string(&string, "a test").await.unwrap().remove(0);
        let error = address.connect().await.err().unwrap();
        assert!(error.to_string().contains("password authentication failed"), "{error}");
        // A moment after the last look.
        write("right");
        drop(address.connect().await.unwrap());
    }

    #[tokio::test]
    async fn missing_encryption_is_said_once() {
        for (url, expected) in [
            ("postgres://10.0.0.1", Some(Level::WARN)),
            ("postgres://10.0.0.1?sslmode=prefer", Some(Level::WARN)),
            ("postgres://[2001:db8::1]?sslmode=allow", Some(Level::WARN)),
            ("postgres://10.0.0.1?sslmode=disable", Some(Level::INFO)),
            ("host=db.example hostaddr=10.0.0.1", Some(Level::WARN)),
            ("host=db.example hostaddr=127.0.0.2", None),
            ("postgres://127.0.0.1", None),
            ("postgres://[::1]", None),
            ("postgres://[::ffff:127.0.0.1]", None),
            ("host=/run/postgresql", None),
        ] {
            let address = Address::resolve(url, "DATABASE_URL").await.unwrap().remove(0);
            let levels = [&address, &address.clone()]
                .map(|address| address.level_of_missing_encryption(&address.config(Look::IfDue).1));
            assert_eq!(levels, [expected, None], "{url}");
        }
    }
}
