//! The derive macros Entity and Insert, and the attribute remote.
//!
//! Applications use these macros through the crate `homing`, which re-exports them next to the traits they
//! implement. Every path in the generated code starts with `::homing::`, so nothing has to be imported for it and
//! nothing in the application's own scope can get in its way.
//!
//! # Structure
//!
//! One file per macro reads the item and writes the code: `entity`, `insert` and `remote`. They share `options`
//! (what is inside `#[entity(…)]` and its like), `columns` (the fields of a struct as columns), `name` (what may be
//! called a table or a column) and `errors`.
//!
//! # Errors
//!
//! A macro reports everything that is wrong with an item at once, each error on the token it is about. A struct that
//! can still be understood is implemented all the same, so that one mistake is one error and not a trail of them.

mod columns;
mod entity;
mod errors;
mod insert;
mod name;
mod options;
mod remote;
#[cfg(test)]
mod testing;
mod types;

use proc_macro::TokenStream;

/// Makes a struct the row of a table.
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
/// Each field is a column of the same name; their order is of no concern. The type of a field is read with `FromSql` and
/// written with `ToSql`; `Option` is a column that may be NULL. A raw identifier such as `r#type` stands for the column
/// `type`.
///
/// # On the struct
///
/// - `#[entity(table = "users")]` (required): the table, or `"schema.table"`. Homing quotes the name, so upper case and
///   reserved words are written as they are.
///
/// # On a field
///
/// - `#[entity(key)]` (required on one field at least): the field is the primary key. Where several fields are, the key
///   is the tuple of them, in the order of the fields.
/// - `#[entity(column = "name")]`: the column, where it is called something else than the field.
/// - `#[entity(read_only)]`: the database computes the column (a generated column, one that a trigger sets): it is read
///   with the others, and `update` does not write it.
///
/// An entity owns its values and is not generic.
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(item: TokenStream) -> TokenStream {
    entity::expand(item.into()).into()
}

/// Makes a struct the columns to write for a new row.
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
/// Columns that are not among the fields get their default; the stored row comes back as the entity. The struct may borrow
/// what it writes, and may be generic. Without a field it is a row of defaults.
///
/// # On the struct
///
/// - `#[insert(into = User)]` (required): the entity, which names the table.
///
/// # On a field
///
/// - `#[insert(column = "name")]`: the column, where it is called something else than the field.
#[proc_macro_derive(Insert, attributes(insert))]
pub fn derive_insert(item: TokenStream) -> TokenStream {
    insert::expand(item.into()).into()
}

/// Makes an async function callable from every region.
///
/// ```no_run
/// use homing::{Context, Node};
///
/// /// Closes the books of a month; the sum of its invoices.
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
/// The function takes its `homing::Context` first and then up to 16 owned arguments, and returns `homing::Result`. Serde
/// reads and writes the arguments and the result. In the function's place stands a type of the same name, visibility
/// and documentation:
///
/// - as a value it is what `register` takes;
/// - its function `call` takes a `&homing::Repo` and the arguments, and runs the function in the primary region.
///
/// Because the name is that of a type now, a variable in its scope cannot have it (`let close = …`), except inside the
/// function itself.
///
/// # Options
///
/// - `#[homing::remote(name = "billing.close")]`: the name on the wire, by default the function's own. Two builds of an
///   application find the function by this name while one replaces the other.
/// - `#[homing::remote(transactional)]`: the function runs inside one transaction on the primary. `ctx.repo()` is that
///   transaction: all of its writes are committed when the function returns `Ok`, and none when it returns an error, panics
///   or runs out of time.
/// - `#[homing::remote(idempotent)]`: running the function twice does no more than running it once. A call whose answer was
///   lost is repeated until its deadline, where without the marker its outcome would be unknown.
///
/// # Two builds
///
/// While one build of an application replaces another, both may call each other. A new parameter at the end has to be an
/// `Option`, or anything else that serde reads from null: callers of the old build do not send it, and functions of the
/// old build accept it while it is `None`. Fields of structs are found by name; give new ones `#[serde(default)]`.
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(options.into(), item.into()).into()
}
