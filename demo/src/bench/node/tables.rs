//! The table that the bench writes, and its functions.

use homing::{Context, Entity, Insert, Result};

#[derive(Debug, Entity)]
#[entity(table = "users")]
pub(super) struct User {
    #[entity(key)]
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) age: i32,
}

#[derive(Debug, Insert)]
#[insert(into = User)]
pub(super) struct NewUser {
    pub(super) name: String,
    pub(super) age: i32,
}

impl NewUser {
    pub(super) fn ada() -> Self {
        Self { name: NAME.to_owned(), age: AGE }
    }
}

/// Does nothing, in the primary region.
#[homing::remote]
pub(super) async fn nothing(context: Context) -> Result<()> {
    let _ = context;
    Ok(())
}

/// Inserts so many users one after the other, in the primary region.
#[homing::remote]
pub(super) async fn import(context: Context, count: u32) -> Result<()> {
    for _ in 0..count {
        context.repo().insert(&NewUser::ada()).await?;
    }
    Ok(())
}

pub(super) const NAME: &str = "Ada";
pub(super) const AGE: i32 = 36;

/// The statement that Homing makes of an insert.
pub(super) const INSERT: &str = r#"insert into "users" ("name", "age") values ($1, $2) returning "id", "name", "age""#;
pub(super) const SELECT: &str = r#"select "id", "name", "age" from "users" where "id" = $1"#;
