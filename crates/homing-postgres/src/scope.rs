//! [`Scope`]: the database of a handle, and the schema in it.

pub(crate) mod schema;

use std::sync::Arc;

use self::schema::{Schema, shortened};
use crate::error::{Error, Result};

/// The database and the schema of a handle's calls. It travels as the `database` of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) database: DatabaseName,
    pub(crate) schema: Option<Schema>,
}

impl Scope {
    /// Returns the form that travels: the database's name and, behind a slash, the name of the schema.
    ///
    /// It is one field so that a build without schemas refuses it, and does not run the call in another schema.
    pub(crate) fn to_wire(&self) -> String {
        match &self.schema {
            None => self.database.as_str().to_owned(),
            Some(schema) => format!("{}/{}", self.database.as_str(), schema.name()),
        }
    }

    /// Parses the form that travels. A database's name has no slash, so the schema's name begins behind the first one.
    pub(crate) fn from_wire(text: &str) -> Result<Self> {
        let (database, schema) = match text.split_once('/') {
            None => (text, None),
            Some((database, schema)) => (database, Some(Schema::new(schema)?)),
        };
        let database = if database.is_empty() { DatabaseName::default() } else { DatabaseName::new(database)? };
        Ok(Self { database, schema })
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
        for text in ["", "analytics", "/tenant_7", "analytics/tenant 7", "/a/b\"c'd\\", "/Ünïcode"] {
            assert_eq!(Scope::from_wire(text).unwrap().to_wire(), text);
        }
        let scope = Scope::from_wire("/a/b").unwrap();
        assert_eq!((scope.database.as_str(), scope.schema.unwrap().name()), ("", "a/b"));
        for text in ["/", "Analytics", "analytics/", "a b/c", "/pg_catalog", "/\0"] {
            assert!(Scope::from_wire(text).unwrap_err().is_misuse(), "{text:?}");
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
