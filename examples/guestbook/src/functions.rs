//! Functions that are called from other regions.

use homing::{Context, Error, Repo};

use crate::entry::NewEntry;

/// Signs many times, next to the database and in one transaction: the caller waits for one round trip in all.
#[homing::remote(name = "guestbook.sign_many", transactional)]
pub(crate) async fn sign_many(context: Context, name: String, times: u32) -> homing::Result<()> {
    let (repo, region) = (context.repo(), context.caller().as_str());
    sign_each(repo, &name, region, "in one named function", times).await.map_err(|interrupted| interrupted.error)
}

/// The same from wherever it is called: a round trip each time, and each is committed by itself.
pub(crate) async fn sign_each(repo: &Repo, name: &str, region: &str, how: &str, times: u32) -> Result<(), Interrupted> {
    for time in 1..=times {
        let message = format!("{time} of {times}, {how}");
        let new = NewEntry { name: name.to_owned(), message, region: region.to_owned() };
        repo.insert(&new).await.map_err(|error| Interrupted { signed: time - 1, error })?;
    }
    Ok(())
}

/// What a loop had done before it failed, which its error does not tell.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) signed: u32,
    pub(crate) error: Error,
}
