//! How do I run several statements so that all of them happen, or none?
//!
//! Run them through the handle of a transaction. It commits if the closure returns `Ok`, and otherwise leaves nothing
//! behind; from another region each statement is one round trip, and so is the commit.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example transaction
//! ```

use homing::{Node, Repo, Result};

/// Moves money from one account to another, and returns what is left in the first one.
///
/// # Errors
///
/// Nothing is moved if an account does not exist ([`is_not_found`](homing::Error::is_not_found)), or if the check of
/// the table refuses the new balance ([`is_rejected`](homing::Error::is_rejected)).
pub async fn transfer(repo: &Repo, from: &str, to: &str, amount: i64) -> Result<i64> {
    repo.transaction(|tx| async move {
        let debit = "update accounts set balance = balance - $2 where owner = $1 returning balance";
        let left = tx.query_one(debit, &[&from, &amount]).await?.get("balance");
        // If the account does not exist, `?` leaves the closure with an error, and the debit is undone.
        let credit = "update accounts set balance = balance + $2 where owner = $1 returning balance";
        tx.query_one(credit, &[&to, &amount]).await?;
        Ok(left)
    })
    .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    repo.batch_execute(SCHEMA).await?;
    println!("Ada has {} left", transfer(&repo, "Ada", "Bob", 30).await?);
    node.shutdown().await;
    Ok(())
}

/// Two accounts, with 100 and 0.
pub const SCHEMA: &str = "
    create table if not exists accounts (owner text primary key, balance bigint not null check (balance >= 0));
    insert into accounts values ('Ada', 100), ('Bob', 0)
        on conflict (owner) do update set balance = excluded.balance";
