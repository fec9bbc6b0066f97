//! Functions that run in the primary region, called from any region.

use homing::{Context, Repo};

use crate::user::NewUser;

/// Inserts users one after the other, in the primary region. The caller waits for one round trip in all.
#[homing::remote]
pub(crate) async fn import(context: Context, names: Vec<String>) -> homing::Result<u64> {
    insert_each(context.repo(), &names).await
}

/// Inserts users one after the other from the caller's region, with a round trip for each.
pub(crate) async fn insert_each(repo: &Repo, names: &[String]) -> homing::Result<u64> {
    for name in names {
        repo.insert(&NewUser { name: name.clone(), age: 0 }).await?;
    }
    Ok(names.len() as u64)
}
