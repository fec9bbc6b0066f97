//! How do I write several rows in one round trip, if later ones need the key of an earlier one?
//!
//! Put the statements into a batch: a parameter may be a column of an earlier step. The steps travel together and run
//! in one transaction next to the primary.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example batch
//! ```

use homing::{Batch, Entity, Insert, Node, Repo, Result, params};

#[derive(Debug, Entity)]
#[entity(table = "authors")]
struct Author {
    #[entity(key)]
    id: i64,
    name: String,
}

#[derive(Debug, Insert)]
#[insert(into = Author)]
struct NewAuthor {
    name: String,
}

/// Stores an author with books, and returns the author's key. If a book is refused, nothing is stored, and the error
/// names its step ([`step`](homing::Error::step)).
pub async fn publish(repo: &Repo, name: &str, titles: &[&str]) -> Result<i64> {
    let mut batch = Batch::new();
    let author = batch.insert("author", NewAuthor { name: name.to_owned() })?;
    for title in titles {
        let sql = "insert into books (author_id, title) values ($1, $2)";
        batch.execute(*title, sql, params![author.column("id"), *title])?;
    }
    let mut results = repo.batch(&batch).await?; // the round trip
    Ok(results.take(&author).id)
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    node.repo().batch_execute(SCHEMA).await?;
    println!("author {}", publish(&node.repo(), "Ada", &["Notes", "More notes"]).await?);
    node.shutdown().await;
    Ok(())
}

/// The two tables.
pub const SCHEMA: &str = "
    create table if not exists authors (id bigserial primary key, name text not null);
    create table if not exists books (
        author_id bigint not null references authors, title text not null check (title <> ''))";
