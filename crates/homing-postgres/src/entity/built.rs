//! Statements built with sea-query.

mod parameter;

use sea_query::{
    DeleteStatement, Expr, ExprTrait, InsertStatement, IntoColumnRef, IntoIden, PostgresQueryBuilder, Query,
    SelectStatement, TableRef, UpdateStatement, Values, WithQuery,
};
use tokio_postgres::types::ToSql;

use self::parameter::BuiltParameter;
use super::Entity;
use super::queries::table_name;

/// A statement that was built with sea-query: a `SelectStatement`, `InsertStatement`, `UpdateStatement`,
/// `DeleteStatement` or `WithQuery`. This trait is sealed.
pub trait Built: private::SealedStatement {}

/// Starts sea-query statements about an entity, with its table and columns filled in.
///
/// ```
/// use homing_postgres::Begin;
/// use homing_postgres::sea_query::{Expr, ExprTrait, Order, PostgresQueryBuilder};
///
/// # struct User;
/// # impl homing_postgres::FromRow for User {
/// #     fn from_row(_: &homing_postgres::Row) -> homing_postgres::Result<Self> { Ok(Self) }
/// # }
/// # impl homing_postgres::Entity for User {
/// #     type Key = i64;
/// #     const TABLE: &'static str = "users";
/// #     const COLUMNS: &'static [&'static str] = &["id", "name"];
/// #     const KEY: &'static [&'static str] = &["id"];
/// #     fn key_values(key: &i64) -> Vec<&(dyn homing_postgres::ToSql + Sync)> { vec![key] }
/// #     fn values(&self) -> Vec<&(dyn homing_postgres::ToSql + Sync)> { Vec::new() }
/// # }
/// let select = User::select().and_where(Expr::col("age").gt(18)).order_by("name", Order::Asc).take();
/// assert_eq!(
///     select.to_string(PostgresQueryBuilder),
///     r#"SELECT "users"."id", "users"."name" FROM "users" WHERE "age" > 18 ORDER BY "name" ASC"#
/// );
/// ```
pub trait Begin: Entity {
    /// Starts a SELECT of the entity's columns from its table. For [`Repo::all_built`](crate::Repo::all_built) and
    /// similar calls.
    fn select() -> SelectStatement {
        let columns = Self::COLUMNS.iter().map(|column| match split(Self::TABLE) {
            (Some(schema), table) => (schema, table, *column).into_column_ref(),
            (None, table) => (table, *column).into_column_ref(),
        });
        Query::select().columns(columns).from(table::<Self>()).take()
    }

    /// Starts an UPDATE of the entity's table, to which the new values have to be added. It counts the version, if the
    /// entity has one. For [`Repo::update_all_built`](crate::Repo::update_all_built).
    fn update() -> UpdateStatement {
        let mut update = Query::update().table(table::<Self>()).take();
        if let Some(version) = Self::VERSION {
            update.value(version, Expr::col((table_name::<Self>(), version)).add(1));
        }
        update
    }

    /// Starts a DELETE from the entity's table. For [`Repo::delete_all_built`](crate::Repo::delete_all_built).
    fn delete() -> DeleteStatement {
        Query::delete().from_table(table::<Self>()).take()
    }
}

impl<T: Entity> Begin for T {}

fn table<T: Entity>() -> TableRef {
    match split(T::TABLE) {
        (Some(schema), table) => (schema.into_iden(), table.into_iden()).into(),
        (None, table) => table.into_iden().into(),
    }
}

fn split(table: &'static str) -> (Option<&'static str>, &'static str) {
    match table.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, table),
    }
}

/// SQL and its values.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) text: String,
    values: Vec<BuiltParameter>,
}

impl Sql {
    pub(crate) fn of(statement: &impl Built) -> Self {
        let (text, Values(values)) = statement.sql();
        Self { text, values: values.into_iter().map(BuiltParameter).collect() }
    }

    pub(crate) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
    }
}

mod private {
    #[expect(unnameable_types, reason = "a trait that others cannot name is sealed")]
    pub trait SealedStatement {
        fn sql(&self) -> (String, sea_query::Values);
    }
}

macro_rules! built {
    ($($statement:ident),*) => {$(
        impl Built for $statement {}

        impl private::SealedStatement for $statement {
            fn sql(&self) -> (String, Values) {
                self.build(PostgresQueryBuilder)
            }
        }
    )*};
}

built!(SelectStatement, InsertStatement, UpdateStatement, DeleteStatement, WithQuery);
