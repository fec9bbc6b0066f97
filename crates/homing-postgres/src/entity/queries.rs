//! The SQL of entity calls.
//!
//! The application's own SQL stands on lines of its own, so that a comment at its end does not hide the rest. A second
//! statement in it is refused by PostgreSQL, which prepares one statement at a time.

use std::fmt::Write;

use super::aggregate::Aggregate;
use super::conflict::{ConflictTarget, Resolution};
use super::{Entity, Insert};

/// Quotes the table: `"a"."b"` for `a.b`.
fn table<T: Entity>() -> String {
    T::TABLE.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// Quotes a name, and doubles the quotation marks in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Writes conditions or assignments, for example `"a" = $1 and "b" = $2`.
fn equals(names: &[&str], first_parameter: usize, separator: &str) -> String {
    let equal = |(index, name): (usize, &&str)| format!("{} = ${}", quoted(name), first_parameter + index);
    names.iter().enumerate().map(equal).collect::<Vec<_>>().join(separator)
}

/// Selects an entity's rows. `suffix` follows the table: conditions, order, limit.
pub(crate) fn select<T: Entity>(suffix: &str) -> String {
    format!("select {} from {}\n{suffix}", columns(T::COLUMNS), table::<T>())
}

pub(crate) fn select_by<T: Entity>(names: &[&str]) -> String {
    let condition = equals(names, 1, " and ");
    // A second row is enough to detect that the row is not unique.
    select::<T>(&format!("where {condition} limit 2"))
}

pub(crate) fn exists<T: Entity>(suffix: &str) -> String {
    format!("select exists (select from {}\n{suffix}\n)", table::<T>())
}

/// Counts the rows of a sub-query, so that a limit in `suffix` means what it says.
pub(crate) fn count<T: Entity>(suffix: &str) -> String {
    format!("select count(*) from (select from {}\n{suffix}\n) as rows", table::<T>())
}

/// Computes an aggregate over the rows of a sub-query, for the same reason.
pub(crate) fn aggregate<T: Entity>(aggregate: &Aggregate, suffix: &str) -> String {
    let column = quoted(aggregate.column());
    let call = aggregate.call(&column);
    format!("select {call} from (select {column} from {}\n{suffix}\n) as rows", table::<T>())
}

/// Inserts that many rows.
pub(crate) fn insert<I: Insert>(rows: usize) -> String {
    insert_with::<I>(rows, &[])
}

/// Inserts that many rows, with more columns than those of `I`.
pub(crate) fn insert_with<I: Insert>(rows: usize, more: &[&str]) -> String {
    returning::<I::Entity>(values_for::<I>(rows, more))
}

/// Inserts that many rows. If a row is already stored, `resolution` decides whether its columns are set or it stays
/// unchanged. Unchanged rows are not returned.
pub(crate) fn insert_or_update<I: Insert>(target: &ConflictTarget, resolution: &Resolution<'_>, rows: usize) -> String {
    let mut sql = values_for::<I>(rows, &[]);
    sql.push_str(" on conflict ");
    sql.push_str(&match target {
        ConflictTarget::Columns(names) => format!("({})", columns(&as_strs(names))),
        ConflictTarget::Constraint(name) => format!("on constraint {}", quoted(name)),
    });
    match resolution {
        Resolution::Set(names) => {
            let set = |name: &&str| format!("{0} = excluded.{0}", quoted(name));
            sql.push_str(" do update set ");
            sql.push_str(&names.iter().map(set).collect::<Vec<_>>().join(", "));
            sql.push_str(&and_count::<I::Entity>());
        }
        Resolution::Keep { .. } => sql.push_str(" do nothing"),
    }
    returning::<I::Entity>(sql)
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn values_for<I: Insert>(rows: usize, more: &[&str]) -> String {
    let names = [I::COLUMNS, more].concat();
    let mut sql = format!("insert into {} ", table::<I::Entity>());
    if names.is_empty() {
        sql.push_str("default values");
        return sql;
    }
    write!(sql, "({}) values ", columns(&names)).expect("writing to a string");
    for row in 0..rows {
        let first = row * names.len() + 1;
        let parameters = (first..first + names.len()).map(|number| format!("${number}"));
        let separator = if row == 0 { "" } else { ", " };
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        write!(sql, "{separator}({parameters})").expect("writing to a string");
    }
    sql
}

/// Sets every column that is neither part of the key nor computed by the database, if the row still has the entity's
/// version. Returns the statement, and which of the entity's values are its parameters.
pub(crate) fn update<T: Entity>() -> (String, Vec<usize>) {
    let index = |name: &&str| T::COLUMNS.iter().position(|column| column == name).expect("a key's column is a column");
    let is_written = |name: &str| !T::KEY.contains(&name) && !T::READ_ONLY.contains(&name) && T::VERSION != Some(name);
    let names: Vec<_> = T::COLUMNS.iter().copied().filter(|name| is_written(name)).collect();
    let parameters = T::KEY.iter().chain(&names).chain(T::VERSION.as_slice()).map(index).collect();
    (update_columns::<T>(&names, T::VERSION.is_some()), parameters)
}

/// Sets these columns of the row with a key and, if `compares_version`, with a version. The parameters are the key, the
/// values and the version.
pub(crate) fn update_columns<T: Entity>(names: &[&str], compares_version: bool) -> String {
    let condition = if compares_version { identity::<T>(names.len()) } else { equals(T::KEY, 1, " and ") };
    if names.is_empty() {
        // There is nothing to set, but the row has to exist, and must not be deleted meanwhile.
        return format!("{} for update", select::<T>(&format!("where {condition}")));
    }
    let set = equals(names, T::KEY.len() + 1, ", ");
    returning::<T>(format!("update {} set {set}{} where {condition}", table::<T>(), and_count::<T>()))
}

/// Selects whether the row with a key has a version. The parameters are the key and the version.
pub(crate) fn has_version<T: Entity>() -> String {
    let version = equals(T::VERSION.as_slice(), T::KEY.len() + 1, "");
    format!("select {version} from {} where {}", table::<T>(), equals(T::KEY, 1, " and "))
}

/// Updates rows. `set` holds the application's assignments, and `suffix` follows them.
pub(crate) fn update_all<T: Entity>(set: &str, suffix: &str) -> String {
    let count = T::VERSION.map(|_| format!("{}\n", and_count::<T>())).unwrap_or_default();
    format!("update {} set\n{set}\n{count}{suffix}", table::<T>())
}

/// Deletes rows. `suffix` is the application's own SQL.
pub(crate) fn delete_all<T: Entity>(suffix: &str) -> String {
    format!("delete from {}\n{suffix}", table::<T>())
}

pub(crate) fn delete<T: Entity>() -> String {
    returning::<T>(format!("delete from {} where {}", table::<T>(), identity::<T>(0)))
}

/// Returns the condition for the row with a key and, if the entity has one, a version. `between` is the number of
/// parameters between the two.
fn identity<T: Entity>(between: usize) -> String {
    let mut condition = equals(T::KEY, 1, " and ");
    if let Some(version) = T::VERSION {
        let parameter = T::KEY.len() + between + 1;
        write!(condition, " and {} = ${parameter}", quoted(version)).expect("writing to a string");
    }
    condition
}

/// Returns the assignment that counts a change of a row, behind other assignments. Empty if the entity has no version.
fn and_count<T: Entity>() -> String {
    let Some(version) = T::VERSION else { return String::new() };
    // The name alone may also be that of a column of another table, or of the new row of an insert.
    let (version, table) = (quoted(version), quoted(table_name::<T>()));
    format!(", {version} = {table}.{version} + 1")
}

/// Returns the name of the table without its schema.
pub(crate) fn table_name<T: Entity>() -> &'static str {
    T::TABLE.rsplit('.').next().unwrap_or(T::TABLE)
}

fn returning<T: Entity>(sql: String) -> String {
    format!("{sql} returning {}", columns(T::COLUMNS))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::ToSql;

    use super::*;
    use crate::entity::FromRow;
    use crate::error::Result;
    use crate::statement::row::Row;

    struct Seat;

    impl FromRow for Seat {
        fn from_row(_: &Row) -> Result<Self> {
            Ok(Self)
        }
    }

    impl Entity for Seat {
        type Key = (i32, i32);
        const TABLE: &'static str = "hall.seat";
        const COLUMNS: &'static [&'static str] = &["row", "label", "number"];
        const KEY: &'static [&'static str] = &["row", "number"];

        fn key_values(key: &Self::Key) -> Vec<&(dyn ToSql + Sync)> {
            vec![&key.0, &key.1]
        }

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    /// An entity with a version.
    struct Doc;

    impl FromRow for Doc {
        fn from_row(_: &Row) -> Result<Self> {
            Ok(Self)
        }
    }

    impl Entity for Doc {
        type Key = i32;
        const TABLE: &'static str = "app.doc";
        const COLUMNS: &'static [&'static str] = &["title", "v", "id", "size"];
        const KEY: &'static [&'static str] = &["id"];
        const READ_ONLY: &'static [&'static str] = &["size"];
        const VERSION: Option<&'static str> = Some("v");

        fn key_values(key: &Self::Key) -> Vec<&(dyn ToSql + Sync)> {
            vec![key]
        }

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    struct NewDoc;

    impl Insert for NewDoc {
        type Entity = Doc;
        const COLUMNS: &'static [&'static str] = &["title"];

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    struct NewSeat;

    impl Insert for NewSeat {
        type Entity = Seat;
        const COLUMNS: &'static [&'static str] = &["row", "we\"ird"];

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    #[test]
    fn statements_read_like_handwritten_sql() {
        let name = || ConflictTarget::Columns(vec!["row".into(), "we\"ird".into()]);
        let constraint = ConflictTarget::Constraint("one \"seat\"".into());
        for (sql, expected) in [
            (
                select::<Seat>("where row > $1"),
                "select \"row\", \"label\", \"number\" from \"hall\".\"seat\"\nwhere row > $1",
            ),
            (
                select_by::<Seat>(Seat::KEY),
                "select \"row\", \"label\", \"number\" from \"hall\".\"seat\"\nwhere \"row\" = $1 and \"number\" = $2 limit 2",
            ),
            (exists::<Seat>(""), "select exists (select from \"hall\".\"seat\"\n\n)"),
            (count::<Seat>("limit 3"), "select count(*) from (select from \"hall\".\"seat\"\nlimit 3\n) as rows"),
            (
                aggregate::<Seat>(&Aggregate::sum("number"), "limit 3"),
                "select sum(\"number\") from (select \"number\" from \"hall\".\"seat\"\nlimit 3\n) as rows",
            ),
            (
                insert::<NewSeat>(2),
                r#"insert into "hall"."seat" ("row", "we""ird") values ($1, $2), ($3, $4) returning "row", "label", "number""#,
            ),
            (
                insert_or_update::<NewSeat>(&name(), &Resolution::Set(vec!["a", "b"]), 1),
                r#"insert into "hall"."seat" ("row", "we""ird") values ($1, $2) on conflict ("row", "we""ird") do update set "a" = excluded."a", "b" = excluded."b" returning "row", "label", "number""#,
            ),
            (
                insert_or_update::<NewSeat>(&constraint, &Resolution::Keep { by: Vec::new() }, 1),
                r#"insert into "hall"."seat" ("row", "we""ird") values ($1, $2) on conflict on constraint "one ""seat""" do nothing returning "row", "label", "number""#,
            ),
            (
                update::<Seat>().0,
                r#"update "hall"."seat" set "label" = $3 where "row" = $1 and "number" = $2 returning "row", "label", "number""#,
            ),
            (
                delete::<Seat>(),
                r#"delete from "hall"."seat" where "row" = $1 and "number" = $2 returning "row", "label", "number""#,
            ),
            (
                update_all::<Seat>("label = $1", "where row > $2"),
                "update \"hall\".\"seat\" set\nlabel = $1\nwhere row > $2",
            ),
            (delete_all::<Seat>("where row > $1"), "delete from \"hall\".\"seat\"\nwhere row > $1"),
        ] {
            assert_eq!(sql, expected);
        }
        assert_eq!(update::<Seat>().1, [0, 2, 1]);
    }

    #[test]
    fn versions_are_compared_and_counted() {
        let key = ConflictTarget::Columns(vec!["title".into()]);
        for (sql, expected) in [
            (
                update::<Doc>().0,
                r#"update "app"."doc" set "title" = $2, "v" = "doc"."v" + 1 where "id" = $1 and "v" = $3 returning "title", "v", "id", "size""#,
            ),
            (
                update_columns::<Doc>(&["title"], false),
                r#"update "app"."doc" set "title" = $2, "v" = "doc"."v" + 1 where "id" = $1 returning "title", "v", "id", "size""#,
            ),
            (
                update_columns::<Doc>(&[], true),
                "select \"title\", \"v\", \"id\", \"size\" from \"app\".\"doc\"\nwhere \"id\" = $1 and \"v\" = $2 for update",
            ),
            (
                delete::<Doc>(),
                r#"delete from "app"."doc" where "id" = $1 and "v" = $2 returning "title", "v", "id", "size""#,
            ),
            (has_version::<Doc>(), r#"select "v" = $2 from "app"."doc" where "id" = $1"#),
            (
                update_all::<Doc>("title = $1 -- new", "where size > $2"),
                "update \"app\".\"doc\" set\ntitle = $1 -- new\n, \"v\" = \"doc\".\"v\" + 1\nwhere size > $2",
            ),
            (
                insert_or_update::<NewDoc>(&key, &Resolution::Set(vec!["title"]), 1),
                r#"insert into "app"."doc" ("title") values ($1) on conflict ("title") do update set "title" = excluded."title", "v" = "doc"."v" + 1 returning "title", "v", "id", "size""#,
            ),
        ] {
            assert_eq!(sql, expected);
        }
        assert_eq!(update::<Doc>().1, [2, 0, 1]);
    }
}
