//! The statements of entity calls.

use std::fmt::Write;

use crate::{Entity, Insert};

/// `"a"."b"` for `a.b`; a quotation mark is doubled.
fn table<T: Entity>() -> String {
    T::TABLE.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// `"a" = $1 and "b" = $2`
fn equals(names: &[&str], first_parameter: usize, separator: &str) -> String {
    let equal = |(index, name): (usize, &&str)| format!("{} = ${}", quoted(name), first_parameter + index);
    names.iter().enumerate().map(equal).collect::<Vec<_>>().join(separator)
}

/// `suffix` is what follows the table: conditions, order, limit.
pub(crate) fn select<T: Entity>(suffix: &str) -> String {
    format!("select {} from {} {suffix}", columns(T::COLUMNS), table::<T>())
}

pub(crate) fn select_by<T: Entity>(names: &[&str]) -> String {
    let condition = equals(names, 1, " and ");
    // One row more than there may be: enough to tell.
    select::<T>(&format!("where {condition} limit 2"))
}

pub(crate) fn exists<T: Entity>(suffix: &str) -> String {
    format!("select exists (select from {} {suffix})", table::<T>())
}

/// Counts the rows of a sub-query, so that a limit in `suffix` means what it says.
pub(crate) fn count<T: Entity>(suffix: &str) -> String {
    format!("select count(*) from (select from {} {suffix}) as rows", table::<T>())
}

/// For that many rows.
pub(crate) fn insert<I: Insert>(rows: usize) -> String {
    insert_with::<I>(rows, &[])
}

/// For that many rows, with more columns than those of `I`.
pub(crate) fn insert_with<I: Insert>(rows: usize, more: &[&str]) -> String {
    let names = [I::COLUMNS, more].concat();
    let mut sql = format!("insert into {} ", table::<I::Entity>());
    if names.is_empty() {
        sql.push_str("default values");
    } else {
        write!(sql, "({}) values ", columns(&names)).expect("writing to a string");
        for row in 0..rows {
            let first = row * names.len() + 1;
            let parameters = (first..first + names.len()).map(|number| format!("${number}"));
            let separator = if row == 0 { "" } else { ", " };
            let parameters = parameters.collect::<Vec<_>>().join(", ");
            write!(sql, "{separator}({parameters})").expect("writing to a string");
        }
    }
    returning::<I::Entity>(sql)
}

/// Sets every column that is not part of the key. The parameters are all values in the order of the columns.
pub(crate) fn update<T: Entity>() -> String {
    let parameter = |name: &&str| {
        let index = T::COLUMNS.iter().position(|column| column == name).expect("a key's column is a column");
        format!("{} = ${}", quoted(name), index + 1)
    };
    let (key, set): (Vec<&str>, Vec<&str>) = T::COLUMNS.iter().partition(|column| T::KEY.contains(column));
    // Where all is key there is nothing to set, but the row has to exist.
    let set = if set.is_empty() { &key } else { &set };
    let set = set.iter().map(parameter).collect::<Vec<_>>().join(", ");
    let key = key.iter().map(parameter).collect::<Vec<_>>().join(" and ");
    returning::<T>(format!("update {} set {set} where {key}", table::<T>()))
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
    use crate::{Result, Row};

    struct Seat;

    impl Entity for Seat {
        type Key = (i32, i32);
        const TABLE: &'static str = "hall.seat";
        const COLUMNS: &'static [&'static str] = &["row", "label", "number"];
        const KEY: &'static [&'static str] = &["row", "number"];

        fn from_row(_: &Row) -> Result<Self> {
            Ok(Self)
        }

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
    fn statements_read_as_one_would_write_them() {
        for (sql, expected) in [
            (select::<Seat>("where row > $1"), r#"select "row", "label", "number" from "hall"."seat" where row > $1"#),
            (
                select_by::<Seat>(Seat::KEY),
                r#"select "row", "label", "number" from "hall"."seat" where "row" = $1 and "number" = $2 limit 2"#,
            ),
            (exists::<Seat>(""), r#"select exists (select from "hall"."seat" )"#),
            (count::<Seat>("limit 3"), r#"select count(*) from (select from "hall"."seat" limit 3) as rows"#),
            (
                insert::<NewSeat>(2),
                r#"insert into "hall"."seat" ("row", "we""ird") values ($1, $2), ($3, $4) returning "row", "label", "number""#,
            ),
            (
                update::<Seat>(),
                r#"update "hall"."seat" set "label" = $2 where "row" = $1 and "number" = $3 returning "row", "label", "number""#,
            ),
            (
                delete::<Seat>(),
                r#"delete from "hall"."seat" where "row" = $1 and "number" = $2 returning "row", "label", "number""#,
            ),
        ] {
            assert_eq!(sql, expected);
        }
    }
}
