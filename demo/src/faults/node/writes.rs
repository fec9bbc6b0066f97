//! The ways to write.

use homing::{Batch, Context, Repo, Result, params};

use super::tables::NewEntry;
use crate::faults::journal::{Transfer, Way, Write};

/// Writes, and returns a place in the log of the primary before the commit.
pub(super) async fn write(repo: &Repo, write: &Write) -> Result<i64> {
    match write.way {
        Way::Insert => Ok(repo.insert(&entry(write)).await?.place),
        Way::Statement => append_by(repo, write).await,
        Way::Batch => in_batch(repo, write).await,
        Way::Transaction => {
            let write = write.clone();
            repo.transaction(|tx| async move { in_transaction(&tx, &write).await }).await
        }
        Way::Function => {
            let Write { register, caller, number, .. } = write.clone();
            append::call(repo, register, caller, number as i64).await
        }
        Way::TransactionalFunction => {
            let Write { register, caller, number, transfer: moved, .. } = write.clone();
            transfer::call(repo, register, caller, number as i64, moved).await
        }
    }
}

/// Stores an entry in the primary region.
#[homing::remote]
pub(super) async fn append(context: Context, register: String, caller: String, number: i64) -> Result<i64> {
    Ok(context.repo().insert(&NewEntry { register, caller, number }).await?.place)
}

/// Moves an amount in the primary region, if it is to, and stores the entry of it.
#[homing::remote(transactional)]
pub(super) async fn transfer(
    context: Context,
    register: String,
    caller: String,
    number: i64,
    transfer: Option<Transfer>,
) -> Result<i64> {
    let way = Way::TransactionalFunction;
    let write = Write { caller, number: number as u64, register, way, transfer };
    in_transaction(context.repo(), &write).await
}

/// Moves the amount by two statements, and stores the entry by a third one.
async fn in_transaction(repo: &Repo, write: &Write) -> Result<i64> {
    for (account, amount) in changes(write) {
        repo.execute(CHANGE, &[&account, &amount]).await?;
    }
    append_by(repo, write).await
}

async fn in_batch(repo: &Repo, write: &Write) -> Result<i64> {
    let changes = changes(write);
    let number = write.number as i64;
    let (source, target, amount) = columns(write);
    let mut batch = Batch::new();
    for (index, (account, amount)) in changes.iter().enumerate() {
        batch.execute(format!("change {index}"), CHANGE, params![account, amount])?;
    }
    let values = params![&write.register, &write.caller, &number, &source, &target, &amount];
    let entry = batch.query_one("entry", APPEND, values)?;
    Ok(repo.batch(&batch).await?.get(&entry).get(0))
}

async fn append_by(repo: &Repo, write: &Write) -> Result<i64> {
    let (source, target, amount) = columns(write);
    let number = write.number as i64;
    let row = repo.query_one(APPEND, &[&write.register, &write.caller, &number, &source, &target, &amount]).await?;
    Ok(row.get(0))
}

fn entry(write: &Write) -> NewEntry {
    NewEntry { register: write.register.clone(), caller: write.caller.clone(), number: write.number as i64 }
}

/// Returns the accounts with what they get, in an order that makes no deadlock.
fn changes(write: &Write) -> Vec<(i32, i64)> {
    let Some(Transfer { source, target, amount }) = write.transfer else { return Vec::new() };
    let mut changes = vec![(source, -amount), (target, amount)];
    changes.sort_unstable();
    changes
}

fn columns(write: &Write) -> (Option<i32>, Option<i32>, Option<i64>) {
    match write.transfer {
        Some(Transfer { source, target, amount }) => (Some(source), Some(target), Some(amount)),
        None => (None, None, None),
    }
}

const CHANGE: &str = "update accounts set balance = balance + $2 where id = $1";

const APPEND: &str = "insert into entries (register, caller, number, source, target, amount) \
                      values ($1, $2, $3, $4, $5, $6) returning place";
