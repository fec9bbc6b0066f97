//! Reads what a database holds in the end.

use anyhow::Result;
use tokio_postgres::Client;

use super::checker::stored::{Fork, Stored};
use super::journal::Transfer;
use super::node::tables::BALANCE;

pub(super) async fn read(client: &Client, fork: Option<Fork>) -> Result<Stored> {
    let mut stored = Stored { initial_balance: BALANCE, fork, ..Stored::default() };
    for row in client.query(ENTRIES, &[]).await? {
        let (caller, number): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let transfer = match (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?) {
            (Some(source), Some(target), Some(amount)) => Some(Transfer { source, target, amount }),
            _ => None,
        };
        stored.entries.entry((caller, number.unsigned_abs())).or_default().push(transfer);
    }
    for row in client.query("select id, balance from accounts", &[]).await? {
        stored.balances.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(stored)
}

const ENTRIES: &str = "select caller, number, source, target, amount from entries where register <> 'filler'";
