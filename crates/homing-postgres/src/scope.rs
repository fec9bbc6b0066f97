//! [`Scope`]: the database of a handle, and the schema in it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

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

/// A schema that calls run in. Cheap to clone.
///
/// A statement in a schema runs in a transaction that begins with [`begin`](Self::begin). So the pooled connection does
/// not stay in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schema(Arc<SchemaParts>);

#[derive(Debug, PartialEq, Eq)]
struct SchemaParts {
    name: String,
    begin: String,
    enter: String,
    enter_transaction: String,
    tag: String,
}

impl Schema {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let refused = |why: &str| Err(Error::misuse(format!("invalid schema name {}: {why}", shortened(name))));
        if name.is_empty() {
            return refused("it is empty");
        }
        if name.len() > MAX_IDENTIFIER_BYTES {
            // PostgreSQL would cut it, and two tenants could become one.
            return refused("it has more than 63 bytes, which is PostgreSQL's limit");
        }
        if name.contains('\0') {
            return refused("it contains a zero byte");
        }
        if name.starts_with("pg_") {
            return refused("names that begin with pg_ belong to PostgreSQL");
        }
        if name == "$user" {
            // Quotes do not change that.
            return refused("in a search_path it stands for the name of the role");
        }
        let identifier = format!("\"{}\"", name.replace('"', "\"\""));
        // PostgreSQL accepts a search_path with an unknown schema. The cast fails if the schema does not exist.
        let check = format!("SELECT {}::pg_catalog.regnamespace", literal(&identifier));
        let tag = name.bytes().fold(String::new(), |mut tag, byte| {
            write!(tag, "{byte:02x}").expect("a string takes everything");
            tag
        });
        Ok(Self(Arc::new(SchemaParts {
            begin: format!("BEGIN; SET LOCAL search_path TO {identifier}; {check}"),
            enter_transaction: format!("SET LOCAL search_path TO {identifier}; {check}"),
            enter: format!("SET search_path TO {identifier}; {check}"),
            name: name.into(),
            tag,
        })))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the SQL that begins a transaction in the schema. It fails if the schema does not exist.
    pub(crate) fn begin(&self) -> &str {
        &self.0.begin
    }

    /// Returns the SQL that enters the schema for the connection's lifetime. It fails if the schema does not exist.
    pub(crate) fn enter(&self) -> &str {
        &self.0.enter
    }

    /// Returns the SQL that enters the schema until the transaction ends or rolls back to before. It fails if the schema
    /// does not exist.
    pub(crate) fn enter_transaction(&self) -> &str {
        &self.0.enter_transaction
    }

    /// Returns the statement with a comment that names the schema. So a statement that was prepared in one schema is
    /// never used in another. The comment is at the end, so that the positions in PostgreSQL's errors stay correct.
    pub(crate) fn tagged(&self, sql: &str) -> String {
        format!("{sql}\n/* schema {} */", self.0.tag)
    }
}

/// Returns the text under which a connection knows a statement: in a schema the same text may mean other tables.
pub(crate) fn tagged<'a>(schema: Option<&Schema>, sql: &'a str) -> Cow<'a, str> {
    schema.map_or(Cow::Borrowed(sql), |schema| Cow::Owned(schema.tagged(sql)))
}

/// Returns a string constant that does not depend on `standard_conforming_strings`.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE>
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Quotes a name for a message, and cuts it if it is long.
fn shortened(name: &str) -> String {
    const SHOWN: usize = 80;
    if name.chars().count() <= SHOWN {
        return format!("{name:?}");
    }
    format!("{:?}…", name.chars().take(SHOWN).collect::<String>())
}

/// The longest name of a database: it becomes part of an environment variable and of each token.
const MAX_DATABASE_NAME_BYTES: usize = 32;

/// The longest name of a schema: PostgreSQL's `NAMEDATALEN` - 1. PostgreSQL would silently cut a longer one.
const MAX_IDENTIFIER_BYTES: usize = 63;

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

    #[test]
    fn names_of_schemas_are_quoted() {
        let schema = Schema::new("a\"b'c\\d").unwrap();
        assert_eq!(
            schema.begin(),
            r#"BEGIN; SET LOCAL search_path TO "a""b'c\d"; SELECT E'"a""b''c\\d"'::pg_catalog.regnamespace"#
        );
        assert_eq!(schema.tagged("select 1 --"), "select 1 --\n/* schema 61226227635c64 */");
        for name in ["", "pg_", "pg_temp_1", "$user", "a\0b", &"x".repeat(64), &"ä".repeat(32)] {
            assert!(Schema::new(name).unwrap_err().is_misuse(), "{name:?}");
        }
        for name in ["x", "PG_x", "pg", "public", &"x".repeat(63), "*/ drop table users; /*"] {
            assert_eq!(Schema::new(name).unwrap().name(), name);
        }
    }
}
