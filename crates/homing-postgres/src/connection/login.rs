//! [`Login`], a user of PostgreSQL besides that of a connection string.

use std::fmt;

use tokio_postgres::Config;

/// A user of PostgreSQL and its password, for [`Databases::with_forwarded_login`](crate::Databases::with_forwarded_login).
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: Option<String>,
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
        Self { password: Some(password.into()), ..self }
    }

    /// Sets the user and the password of a connection.
    pub(super) fn set(&self, config: &mut Config) {
        config.user(&self.user);
        self.password.as_ref().map(|password| config.password(password));
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
