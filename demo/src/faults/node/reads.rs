//! The ways to read.

use std::collections::BTreeMap;

use homing::{Error, Repo, Result};

use super::tables::{Account, Entry};

/// Returns what a register shows: the numbers of each caller.
pub(super) async fn entities(repo: &Repo, register: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let entries = repo.all::<Entry>("where register = $1", &[&register]).await?;
    Ok(by_caller(entries.into_iter().map(|entry| (entry.caller, entry.number))))
}

/// Returns the same by raw SQL.
pub(super) async fn rows(repo: &Repo, register: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let rows = repo.query("select caller, number from entries where register = $1", &[&register]).await?;
    Ok(by_caller(rows.into_iter().map(|row| (row.get("caller"), row.get("number")))))
}

/// Returns the sum of all balances.
pub(super) async fn sum(repo: &Repo) -> Result<i64> {
    Ok(repo.query_one("select sum(balance)::bigint from accounts", &[]).await?.get(0))
}

/// Reads an account by its key.
pub(super) async fn account(repo: &Repo, id: i32) -> Result<Account> {
    repo.get(id).await?.ok_or_else(|| Error::failed(format!("account {id} is not there")))
}

fn by_caller(entries: impl Iterator<Item = (String, i64)>) -> BTreeMap<String, Vec<u64>> {
    let mut callers = BTreeMap::<_, Vec<_>>::new();
    for (caller, number) in entries {
        callers.entry(caller).or_default().push(number as u64);
    }
    callers.values_mut().for_each(|numbers| numbers.sort_unstable());
    callers
}
