//! Functions that run in the primary region, wherever they are called.

use homing::{Context, Repo};

use crate::user::NewUser;

/// Enters users one after the other, in the primary region: each insert is next to the database, and the caller waits
/// for one round trip in all.
#[homing::remote]
pub(crate) async fn import(context: Context, names: Vec<String>) -> homing::Result<u64> {
    insert_each(context.repo(), &names).await
}

/// The same from wherever it is called: a round trip for each insert.
pub(crate) async fn insert_each(repo: &Repo, names: &[String]) -> homing::Result<u64> {
    for name in names {
        repo.insert(&NewUser { name: name.clone(), age: 0 }).await?;
    }
    Ok(names.len() as u64)
}
