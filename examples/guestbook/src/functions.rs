//! Functions that are called from other regions.

use homing::{Context, Repo};

use crate::entry::NewEntry;

/// Signs many times, next to the database: the caller waits for one round trip in all.
#[homing::remote(name = "guestbook.sign_many")]
pub(crate) async fn sign_many(context: Context, name: String, times: u32) -> homing::Result<u32> {
    sign_each(context.repo(), &name, context.caller().as_str(), "in one named function", times).await
}

/// The same from wherever it is called: a round trip each time.
pub(crate) async fn sign_each(repo: &Repo, name: &str, region: &str, how: &str, times: u32) -> homing::Result<u32> {
    for time in 1..=times {
        let message = format!("{time} of {times}, {how}");
        repo.insert(&NewEntry { name: name.to_owned(), message, region: region.to_owned() }).await?;
    }
    Ok(times)
}
