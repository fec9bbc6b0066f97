//! [`Login`], a user of PostgreSQL besides that of a connection string.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use homing_rpc::Reloaded;
use tokio_postgres::Config;

use super::source::{self, Look, text_of};
use crate::error::{Error, Result};

/// A user of PostgreSQL and its password, for [`Databases::with_forwarded_login`](crate::Databases::with_forwarded_login).
#[derive(Clone)]
pub struct Login {
    user: String,
    password: Option<Password>,
}

#[derive(Clone)]
enum Password {
    Text(String),
    File(Arc<Reloaded<String>>),
}

impl Login {
    /// Returns the login of a user. Without a password it is for a server that asks this user for none, for example because a
    /// client certificate proves who connects.
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), password: None }
    }

    /// Sets the password.
    #[must_use]
    pub fn with_password(self, password: impl Into<String>) -> Self {
        Self { password: Some(Password::Text(password.into())), ..self }
    }

    /// Takes the password from a file, without the white space at its end. The file is read again when it has changed: new
    /// connections use the new password.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the file cannot be read now, or is empty.
    pub fn with_password_file(self, path: impl Into<PathBuf>) -> Result<Self> {
        let password =
            |contents: &[Vec<u8>]| text_of(contents[0].trim_ascii_end(), "the password").map(ToOwned::to_owned);
        let file = Reloaded::new("the password", vec![path.into()], password);
        let file = file.map_err(|error| Error::configuration(error.to_string()))?;
        Ok(Self { password: Some(Password::File(Arc::new(file))), ..self })
    }

    /// Returns whether the password may change.
    pub(super) fn may_change(&self) -> bool {
        matches!(self.password, Some(Password::File(_)))
    }

    /// Returns whether it has a password of its own.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Sets the user and the password of a connection.
    pub(super) fn set(&self, config: &mut Config, look: Look) {
        config.user(&self.user);
        match &self.password {
            None => {}
            Some(Password::Text(password)) => {
                config.password(password);
            }
            Some(Password::File(file)) => {
                config.password(source::read(file, look));
            }
        }
    }

    /// Returns the name of the user.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Debug for Login {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homing_testbed::Postgres;
    use tokio::time::Instant;

    use super::super::address::Address;
    use super::super::pool::Pool;
    use super::*;

    #[test]
    fn password_file_is_read_again() {
        let folder = homing_testbed::Scratch::new().unwrap();
        let file = folder.path().join("password");
        let login = || Login::new("narrow").with_password_file(&file);
        for contents in [&b""[..], b" \n", b"\xFF"] {
            std::fs::write(&file, contents).unwrap();
            assert!(login().unwrap_err().is_configuration(), "{contents:?}");
        }
        std::fs::write(&file, "first\n").unwrap();
        let login = login().unwrap();
        let password = || {
            let mut config = Config::new();
            login.set(&mut config, Look::Now);
            config.get_password().map(<[u8]>::to_vec)
        };
        assert_eq!(password().unwrap(), b"first");
        std::fs::write(&file, " second\n").unwrap();
        assert_eq!(password().unwrap(), b" second");
        std::fs::write(&file, "").unwrap();
        assert_eq!(password().unwrap(), b" second");
    }

    #[tokio::test]
    async fn other_user_says_nothing_about_the_server() {
        let server = Postgres::options().start().await.unwrap();
        let script = "create role narrow login; alter role narrow set default_transaction_read_only = on";
        server.connect().await.unwrap().batch_execute(script).await.unwrap();
        // Without the name of a database, which is then that of the user.
        let url = format!("postgres://postgres@{}", server.address());
        let pool = Pool::new(Address::resolve(&url, "a test").await.unwrap().remove(0), 2);
        let deadline = Instant::now() + Duration::from_secs(30);
        drop(pool.connection(deadline).await.unwrap());
        let forwarded = pool.of_login(&Login::new("narrow"));
        let connection = forwarded.connection(deadline).await.unwrap();
        let row = connection.query_one("select session_user::text, current_database()::text", &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("narrow", "postgres"));
        assert!(!pool.server().unwrap().is_read_only);
        // What is wrong with the login is not wrong with the server.
        assert!(pool.of_login(&Login::new("nobody")).connection(deadline).await.is_err());
        assert_eq!(pool.known().complaint(), None);
    }

    #[test]
    fn debug_hides_the_password() {
        let login = format!("{:?}", Login::new("app_forwarded").with_password("geheim"));
        assert!(login.contains("app_forwarded") && !login.contains("geheim"), "{login}");
    }
}
