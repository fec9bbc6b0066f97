//! Functions that other regions call.

use homing::{Context, Error, Repo};

use crate::entry::NewEntry;

/// Signs many times, in the primary region and in one transaction. The caller waits for one round trip in all.
#[homing::remote(name = "guestbook.sign_many", transactional)]
pub(crate) async fn sign_many(context: Context, name: String, times: u32) -> homing::Result<()> {
    let (repo, region) = (context.repo(), context.caller().as_str());
    sign_each(repo, &name, region, "in one named function", times).await.map_err(|interrupted| interrupted.error)
}

/// Signs many times from the caller's region: with a round trip and a transaction for each.
pub(crate) async fn sign_each(repo: &Repo, name: &str, region: &str, how: &str, times: u32) -> Result<(), Interrupted> {
    for time in 1..=times {
        let message = format!("{time} of {times}, {how}");
        let new = NewEntry { name: name.to_owned(), message, region: region.to_owned() };
        repo.insert(&new).await.map_err(|error| Interrupted { signed: time - 1, error })?;
    }
    Ok(())
}

/// The error of a loop, with the number of entries that it signed before.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) signed: u32,
    pub(crate) error: Error,
}
