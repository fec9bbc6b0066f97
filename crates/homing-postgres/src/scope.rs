//! [`Scope`]: the database of a handle, and the settings that are local to each of its transactions.

pub(crate) mod schema;
pub(crate) mod settings;

use std::sync::Arc;

use self::schema::{Schema, shortened};
use self::settings::Settings;
use crate::error::{Error, Result};

/// The database of a handle's calls, and their local settings. It travels as the `database` of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) database: DatabaseName,
    pub(crate) local: LocalSettings,
}

/// The schema and the settings with which each transaction of a handle begins. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalSettings {
    pub(crate) schema: Option<Schema>,
    pub(crate) settings: Settings,
}

impl Scope {
    /// Returns the form that travels: the database's name, the settings behind a question mark, and the name of the schema
    /// behind a slash.
    ///
    /// It is one field so that a build without schemas or settings refuses it, and does not run the call without them: no
    /// database has such a name.
    pub(crate) fn to_wire(&self) -> String {
        let LocalSettings { schema, settings } = &self.local;
        let mut wire = self.database.as_str().to_owned();
        if !settings.is_empty() {
            wire = format!("{wire}?{}", settings.to_wire());
        }
        if let Some(schema) = schema {
            wire = format!("{wire}/{}", schema.name());
        }
        wire
    }

    /// Parses the form that travels. Neither a database's name nor the settings have a slash, so the schema's name begins
    /// behind the first one.
    pub(crate) fn from_wire(text: &str) -> Result<Self> {
        let (text, schema) = match text.split_once('/') {
            None => (text, None),
            Some((text, schema)) => (text, Some(Schema::new(schema)?)),
        };
        let (database, settings) = match text.split_once('?') {
            None => (text, Settings::default()),
            Some((database, settings)) => (database, Settings::from_wire(settings)?),
        };
        let database = if database.is_empty() { DatabaseName::default() } else { DatabaseName::new(database)? };
        Ok(Self { database, local: LocalSettings { schema, settings } })
    }
}

impl LocalSettings {
    pub(crate) fn in_schema(&self, schema: Option<&Schema>) -> Self {
        Self { schema: schema.cloned(), ..self.clone() }
    }

    pub(crate) fn with_settings(&self, settings: Settings) -> Self {
        Self { settings, ..self.clone() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.schema.is_none() && self.settings.is_empty()
    }
}

/// The name of a database within the node, empty for the unnamed one. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DatabaseName(Arc<str>);

impl DatabaseName {
    /// Checks the name, which becomes part of an environment variable and of a token.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if is_word && begins && name.len() <= MAX_DATABASE_NAME_BYTES {
            return Ok(Self(name.into()));
        }
        Err(Error::misuse(format!(
            "invalid database name {}: use 1 to {MAX_DATABASE_NAME_BYTES} lower-case letters, digits and underscores, \
             starting with a letter",
            shortened(name)
        )))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for DatabaseName {
    fn default() -> Self {
        Self("".into())
    }
}

/// Checks that a node's database can have this name.
///
/// # Errors
///
/// [`is_misuse`](Error::is_misuse) if it cannot.
pub fn check_database_name(name: &str) -> Result<()> {
    DatabaseName::new(name).map(|_| ())
}

/// The longest name of a database: it becomes part of an environment variable and of each token.
const MAX_DATABASE_NAME_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_survives_the_wire() {
        for text in [
            "",
            "analytics",
            "/tenant_7",
            "analytics/tenant 7",
            "/a/b\"c'd\\",
            "/Ünïcode",
            "?app.user=Nw",
            "a?app.user=&role=dGVuYW50/b?c/d",
        ] {
            assert_eq!(Scope::from_wire(text).unwrap().to_wire(), text);
        }
        let scope = Scope::from_wire("/a/b").unwrap();
        assert_eq!((scope.database.as_str(), scope.local.schema.unwrap().name()), ("", "a/b"));
        for text in [
            "/",
            "Analytics",
            "analytics/",
            "a b/c",
            "/pg_catalog",
            "/\0",
            "?",
            "?/b",
            "?a.b",
            "?a.b=!",
            "?timezone=",
            "a?b?a.b=",
        ] {
            assert!(Scope::from_wire(text).unwrap_err().is_misuse(), "{text:?}");
        }
    }

    #[test]
    fn old_builds_refuse_settings() {
        let settings = Settings::default().with("app.user", "a/b?c&d=e".into()).unwrap();
        for (database, schema) in [("", None), ("analytics", Some("tenant_7"))] {
            let schema = schema.map(|name| Schema::new(name).unwrap());
            let mut scope = Scope::from_wire(database).unwrap();
            scope.local = LocalSettings { schema, settings: settings.clone() };
            assert_eq!(Scope::from_wire(&scope.to_wire()).unwrap(), scope);
            // An old build takes everything before the first slash for the name of a database.
            let wire = scope.to_wire();
            let name = wire.split_once('/').map_or(&*wire, |(name, _)| name);
            assert!(DatabaseName::new(name).unwrap_err().is_misuse(), "{wire}");
        }
    }

    #[test]
    fn names_of_databases_are_words() {
        for name in ["a", "analytics", "a1_b", &"x".repeat(32)] {
            assert_eq!(DatabaseName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "1a", "_a", "A", "ä", "a-b", "a b", "a/b", "a\0", &"x".repeat(33), &"x".repeat(100_000)] {
            let error = DatabaseName::new(name).unwrap_err();
            assert!(error.is_misuse() && error.to_string().len() < 300, "{error}");
        }
    }
}
