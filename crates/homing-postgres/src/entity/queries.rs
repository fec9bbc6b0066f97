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

/// Sets every column that is neither part of the key nor computed by the database. Returns the statement, and which of
/// the entity's values are its parameters.
pub(crate) fn update<T: Entity>() -> (String, Vec<usize>) {
    let index = |name: &&str| T::COLUMNS.iter().position(|column| column == name).expect("a key's column is a column");
    let is_written = |name: &str| !T::KEY.contains(&name) && !T::READ_ONLY.contains(&name);
    let names: Vec<_> = T::COLUMNS.iter().copied().filter(|name| is_written(name)).collect();
    let parameters = T::KEY.iter().chain(&names).map(index).collect();
    let key = equals(T::KEY, 1, " and ");
    if names.is_empty() {
        // There is nothing to set, but the row has to exist, and must not be deleted meanwhile.
        return (format!("{} for update", select::<T>(&format!("where {key}"))), parameters);
    }
    let set = equals(&names, T::KEY.len() + 1, ", ");
    (returning::<T>(format!("update {} set {set} where {key}", table::<T>())), parameters)
}

/// Updates rows. `set` holds the application's assignments, and `suffix` follows them.
pub(crate) fn update_all<T: Entity>(set: &str, suffix: &str) -> String {
    format!("update {} set\n{set}\n{suffix}", table::<T>())
}

/// Deletes rows. `suffix` is the application's own SQL.
pub(crate) fn delete_all<T: Entity>(suffix: &str) -> String {
    format!("delete from {}\n{suffix}", table::<T>())
}

pub(crate) fn delete<T: Entity>() -> String {
    returning::<T>(format!("delete from {} where {}", table::<T>(), equals(T::KEY, 1, " and ")))
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
}
