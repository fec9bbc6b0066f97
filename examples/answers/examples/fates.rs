//! What do I do when a write fails?
//!
//! Match on the fate of the error: it says whether the write may be in the database. If the row has a key of your own,
//! an unknown outcome is harmless: send the same write again.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example fates
//! ```

use std::time::Duration;

use homing::error::SqlState;
use homing::{Fate, Node, Repo, Result};

/// Reserves a seat, and returns whether the guest has it. It may be repeated: the guest's own row does not count twice.
///
/// # Errors
///
/// The last error if three attempts failed, or the first one that another attempt would not change.
pub async fn reserve(repo: &Repo, seat: i64, guest: &str) -> Result<bool> {
    const SQL: &str = "insert into seats (seat, guest) values ($1, $2) on conflict (seat, guest) do nothing";
    let mut attempt = 0;
    loop {
        attempt += 1;
        let Err(error) = repo.execute(SQL, &[&seat, &guest]).await else { return Ok(true) };
        match error.fate() {
            // It is written, and only the local replica does not show it yet: sending it again would be wrong.
            Fate::Committed => return Ok(true),
            // PostgreSQL refused it, and nothing of it remains. The code says why.
            Fate::Rejected if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(false),
            // Nothing was executed, and nothing will be: the call itself is wrong.
            Fate::NotSent if error.is_misuse() || error.is_configuration() => return Err(error),
            // Nothing was executed, or perhaps it was: the key makes another attempt harmless.
            Fate::NotSent | Fate::OutcomeUnknown if attempt < 3 => {
                tokio::time::sleep(error.retry_after().unwrap_or(PAUSE)).await;
            }
            Fate::NotSent | Fate::OutcomeUnknown | Fate::Rejected | Fate::FunctionFailed => return Err(error),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    repo.batch_execute(SCHEMA).await?;
    println!("Ada: {}, Bob: {}", reserve(&repo, 7, "Ada").await?, reserve(&repo, 7, "Bob").await?);
    node.shutdown().await;
    Ok(())
}

/// A seat has one guest, and the pair is the key of a reservation.
pub const SCHEMA: &str = "create table if not exists seats (seat bigint unique, guest text, primary key (seat, guest))";

const PAUSE: Duration = Duration::from_millis(200);
