#![doc = include_str!("../README.md")]
//!
//! # Structure
//!
//! Each macro has one file, `entity`, `from_row`, `insert`, `remote` or `update`, which reads the item and writes the code. They share `expand`
//! (from an item to its expansion), `options` (the inside of `#[entity(…)]` and the like), `columns` (the fields of a
//! struct as columns), `name` (valid names) and `errors`.
//!
//! # Errors
//!
//! A macro reports all errors of an item at once, and each error underlines the token that is wrong. If the struct or
//! function is still understandable, the macro implements the trait too, so that one mistake does not cause further
//! errors elsewhere.

mod columns;
mod entity;
mod errors;
mod expand;
mod from_row;
mod insert;
mod name;
mod options;
mod remote;
#[cfg(test)]
mod testing;
mod types;
mod update;

use proc_macro::TokenStream;

/// Derives `homing::Entity`: the struct is a row of a table.
///
/// ```
/// use homing::Entity;
///
/// #[derive(Debug, Entity)]
/// #[entity(table = "shop.parts")]
/// struct Part {
///     #[entity(key)]
///     id: i64,
///     name: String,
///     #[entity(column = "weight_g")]
///     weight: Option<i32>,
/// }
///
/// assert_eq!(Part::COLUMNS, ["id", "name", "weight_g"]);
/// ```
///
/// Each field is the column of the same name, in any order. Its type is read with `FromSql` and written with `ToSql`. An
/// `Option` is a column that may be NULL. A raw identifier such as `r#type` stands for the column `type`.
///
/// # On the struct
///
/// - `#[entity(table = "users")]` (required): the table, or `"schema.table"`. Homing quotes the name, so it may have upper
///   case letters or be a reserved word.
///
/// # On a field
///
/// - `#[entity(key)]` (required on at least one field): the field is the primary key. If several fields have it, the key
///   is a tuple of them, in the order of the fields.
/// - `#[entity(column = "name")]`: the name of the column, if it differs from the field's.
/// - `#[entity(read_only)]`: the database computes the column (a generated column, or one that a trigger sets). It is read
///   with the others, but `update` does not write it.
/// - `#[entity(version)]`: the column counts the changes of the row, for example
///   `version integer not null default 1`. The field is an `i16`, `i32` or `i64`. Each update through an entity call adds
///   one. An update or a deletion of an entity whose row was changed since it was read fails with `Error::is_outdated`,
///   and writes nothing, so that no change of another caller is lost.
///
/// An entity owns its values and cannot be generic. It implements `homing::FromRow` too, so rows of other statements can
/// be read as entities, by the names of their columns.
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(item: TokenStream) -> TokenStream {
    entity::expand(item.into()).into()
}

/// Derives `homing::FromRow`: the struct is a row of a join, an aggregate or a projection.
///
/// ```no_run
/// use homing::{FromRow, Repo};
///
/// #[derive(Debug, FromRow)]
/// struct Balance {
///     owner: String,
///     total: i64,
///     #[from_row(column = "last_day")]
///     last: Option<String>,
/// }
///
/// # async fn example(repo: Repo) -> homing::Result<()> {
/// let sql = "select owner, sum(amount)::bigint as total, max(day)::text as last_day
///     from accounts left join payments using (owner) group by owner";
/// let balances: Vec<Balance> = repo.query_as(sql, &[]).await?;
/// # Ok(())
/// # }
/// ```
///
/// Each field is the column of the same name, wherever it stands in the row. Its type is read with `FromSql`. An `Option`
/// is a column that may be NULL. Columns without a field are ignored. If the column of a field does not exist, or if
/// several columns have its name, the call fails.
///
/// An entity implements the trait already.
///
/// # On a field
///
/// - `#[from_row(column = "name")]`: the name of the column, if it differs from the field's.
///
/// The struct owns its values and cannot be generic.
#[proc_macro_derive(FromRow, attributes(from_row))]
pub fn derive_from_row(item: TokenStream) -> TokenStream {
    from_row::expand(item.into()).into()
}

/// Derives `homing::Insert`: the struct has the columns to write for a new row.
///
/// ```
/// use homing::{Entity, Insert};
///
/// #[derive(Debug, Entity)]
/// #[entity(table = "users")]
/// struct User {
///     #[entity(key)]
///     id: i64,
///     name: String,
/// }
///
/// #[derive(Debug, Insert)]
/// #[insert(into = User)]
/// struct NewUser<'a> {
///     name: &'a str,
/// }
///
/// assert_eq!(NewUser::COLUMNS, ["name"]);
/// ```
///
/// Columns without a field get their default. The call returns the stored row as the entity. The struct may borrow its
/// values, and may be generic. A struct without fields is a row of defaults.
///
/// # On the struct
///
/// - `#[insert(into = User)]` (required): the entity, which has the name of the table.
///
/// # On a field
///
/// - `#[insert(column = "name")]`: the name of the column, if it differs from the field's.
#[proc_macro_derive(Insert, attributes(insert))]
pub fn derive_insert(item: TokenStream) -> TokenStream {
    insert::expand(item.into()).into()
}

/// Derives `homing::Update`: the struct has the columns of a row that change.
///
/// ```no_run
/// use homing::{Entity, Repo, Update};
///
/// #[derive(Debug, Entity)]
/// #[entity(table = "users")]
/// struct User {
///     #[entity(key)]
///     id: i64,
///     name: String,
///     city: Option<String>,
///     #[entity(version)]
///     version: i32,
/// }
///
/// #[derive(Debug, Update)]
/// #[update(of = User)]
/// struct EditUser<'a> {
///     name: Option<&'a str>,
///     city: Option<Option<&'a str>>,
/// }
///
/// # async fn example(repo: Repo) -> homing::Result<()> {
/// let user = repo.update_columns(7, &EditUser { name: Some("Ada"), city: None }).await?; // leaves the city as it is
/// let user = repo.update_columns(7, &EditUser { name: None, city: Some(None) }).await?; // the city is NULL
/// # Ok(())
/// # }
/// ```
///
/// An update writes the columns of the struct, and leaves all others as they are. A field whose type is an `Option` is
/// written only if it has a value. For a column that may be NULL, an `Option` within the `Option` says so: `Some(None)`
/// writes NULL. The struct may borrow its values, and may be generic.
///
/// # On the struct
///
/// - `#[update(of = User)]` (required): the entity, which has the name of the table and of its key.
///
/// # On a field
///
/// - `#[update(column = "name")]`: the name of the column, if it differs from the field's.
/// - `#[update(version)]`: the version of the row that the caller has seen, for example in a form. If the stored row has
///   another one, the update fails with `Error::is_outdated`, and writes nothing. Without it, the update is written
///   whatever the version is, and counts it.
#[proc_macro_derive(Update, attributes(update))]
pub fn derive_update(item: TokenStream) -> TokenStream {
    update::expand(item.into()).into()
}

/// Makes an async function callable from every region. It runs in the primary region.
///
/// ```no_run
/// use homing::{Context, Node};
///
/// /// Closes the books of a month, and returns the sum of its invoices.
/// #[homing::remote(name = "billing.close")]
/// async fn close(ctx: Context, month: String) -> homing::Result<Option<i64>> {
///     let row = ctx.repo().query_one("select sum(cents)::bigint from invoices where month = $1", &[&month]).await?;
///     row.try_get(0)
/// }
///
/// # async fn example() -> homing::Result<()> {
/// let node = Node::from_env()?.register(close).start().await?;
/// let sum = close::call(&node.repo(), "2026-01".to_owned()).await?;
/// # Ok(())
/// # }
/// ```
///
/// The function takes a `homing::Context` and up to 16 owned arguments. Serde encodes the arguments and the result. The macro
/// replaces the function with a type of the same name, visibility and documentation:
///
/// - As a value, the name is the argument of `register`.
/// - `close::call` takes a `&homing::Repo` and the arguments, and runs the function in the primary region.
/// - `close::call_in` takes a `&homing::Repo`, a `&homing::Region` and the arguments, and runs the function in that region.
///
/// The name is also that of a function, which stands for the value. A link to it in documentation says which one it means:
/// `` [`struct@close`] ``.
///
/// # Errors of the function
///
/// The function returns a `homing::Result`, or a `Result` whose error becomes a `homing::Error`. With
/// `Result<T, Box<dyn std::error::Error + Send + Sync>>`, or with the feature `anyhow` of `homing` and `anyhow::Result<T>`,
/// `?` works for the errors of any crate. Errors of Homing keep their fate on the way.
///
/// # Options
///
/// - `#[homing::remote(name = "billing.close")]`: the name on the wire. Default: the name of the function. Two builds of an
///   application find the function by this name while one replaces the other.
/// - `#[homing::remote(transactional)]`: the function runs in one transaction on the primary, and `ctx.repo()` is that
///   transaction. All of its writes are committed if the function returns `Ok`, and none if it returns an error, panics or
///   runs out of time. Its caller then gets an error that says *rejected*.
/// - `#[homing::remote(idempotent)]`: to run the function twice has the same effect as to run it once. A call whose answer
///   is lost is then repeated until its deadline. Without the marker its outcome would be unknown.
///
/// # Two builds
///
/// While one build of an application replaces another, nodes of both builds call each other. Add a new parameter at the
/// end, as an `Option` or another type that serde reads from null: callers of the old build do not send it, and functions
/// of the old build accept it if it is `None`. Fields of structs have names on the wire; give new fields
/// `#[serde(default)]`.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into()).into()
}
