//! The names of tables, columns and functions.

/// Returns why `name` cannot be the name of a table, with or without a schema.
pub(crate) fn table_fault(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 {
        return Some(format!("`{name}` has more than one dot: write `table` or `schema.table`"));
    }
    parts.into_iter().find_map(|part| identifier_fault("table", part))
}

/// Returns why `name` cannot be the name of a column.
pub(crate) fn column_fault(name: &str) -> Option<String> {
    identifier_fault("column", name)
}

/// Returns why `name` cannot be the name on the wire of a function.
pub(crate) fn function_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("the name of a function cannot be empty".to_owned());
    }
    if name.len() > MAX_FUNCTION_BYTES {
        return Some(format!("the name of a function cannot have more than {MAX_FUNCTION_BYTES} bytes"));
    }
    let blank = |c: char| c.is_whitespace() || c.is_control();
    name.contains(blank).then(|| "the name of a function cannot contain blanks or control characters".to_owned())
}

fn identifier_fault(what: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        Some(format!("the name of a {what} cannot be empty"))
    } else if name.contains('"') {
        Some("write the name without quotes: Homing quotes it".to_owned())
    } else if name.trim() != name || name.contains(char::is_control) {
        Some(format!("the name of a {what} cannot begin or end with a blank or contain control characters"))
    } else if name.len() > MAX_BYTES {
        Some(format!("PostgreSQL truncates names after {MAX_BYTES} bytes: `{name}` has {}", name.len()))
    } else {
        None
    }
}

/// `NAMEDATALEN - 1`: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
const MAX_BYTES: usize = 63;

/// The longest name that a node accepts at registration.
const MAX_FUNCTION_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_are_accepted() {
        for name in ["users", "app.users", "Users", "order", "größe", &"x".repeat(63)] {
            assert_eq!(table_fault(name), None, "{name}");
        }
        for name in ["name", "first name", "a.b", "type"] {
            assert_eq!(column_fault(name), None, "{name}");
        }
        for name in ["import", "billing.import", "größe", "a/b:c-d"] {
            assert_eq!(function_fault(name), None, "{name}");
        }
    }

    #[test]
    fn invalid_names_are_refused_with_reason() {
        let table = |name: &str| table_fault(name).unwrap_or_default();
        assert_eq!(table(""), "the name of a table cannot be empty");
        assert_eq!(table(".users"), "the name of a table cannot be empty");
        assert_eq!(table("app."), "the name of a table cannot be empty");
        assert_eq!(table("a.b.c"), "`a.b.c` has more than one dot: write `table` or `schema.table`");
        assert_eq!(table("\"users\""), "write the name without quotes: Homing quotes it");
        let blank = "the name of a table cannot begin or end with a blank or contain control characters";
        assert_eq!(table(" users"), blank);
        assert_eq!(table("app. users"), blank);
        assert_eq!(table("us\0ers"), blank);
        let long = "x".repeat(64);
        assert_eq!(table(&long), format!("PostgreSQL truncates names after 63 bytes: `{long}` has 64"));

        assert_eq!(column_fault("").unwrap_or_default(), "the name of a column cannot be empty");
        assert_eq!(function_fault("").unwrap_or_default(), "the name of a function cannot be empty");
        let long = "the name of a function cannot have more than 255 bytes";
        assert_eq!(function_fault(&"x".repeat(256)).unwrap_or_default(), long);
        let blank = "the name of a function cannot contain blanks or control characters";
        assert_eq!(function_fault("a b").unwrap_or_default(), blank);
        assert_eq!(function_fault("a\n").unwrap_or_default(), blank);
    }
}
