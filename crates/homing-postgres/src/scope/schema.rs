//! [`Schema`], the search path of a handle's calls.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::error::{Error, Result};

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
pub(super) fn shortened(name: &str) -> String {
    const SHOWN: usize = 80;
    if name.chars().count() <= SHOWN {
        return format!("{name:?}");
    }
    format!("{:?}…", name.chars().take(SHOWN).collect::<String>())
}

/// The longest name of a schema: PostgreSQL's `NAMEDATALEN` - 1. PostgreSQL would silently cut a longer one.
const MAX_IDENTIFIER_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

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
