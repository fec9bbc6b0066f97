//! How does a queued job see the write that caused it, if its worker runs in another region?
//!
//! Put the token of the session into the job. The worker's reads then wait for its own replica, or ask the primary.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example job_token
//! ```

use homing::{Consistency, Node, Repo, Result, Token};
use serde::{Deserialize, Serialize};

/// A message of the queue. Its token is text, so any queue can carry it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The key of the order.
    pub order: i64,
    /// The positions that the worker has to see.
    pub token: Token,
}

/// Stores an order, and returns the job to put into the queue.
pub async fn place_order(repo: &Repo, item: &str) -> Result<Job> {
    let order = repo.query_one("insert into orders (item) values ($1) returning id", &[&item]).await?.get("id");
    Ok(Job { order, token: repo.token().await? })
}

/// Handles a job on any node, and returns the item to send.
pub async fn handle(repo: &Repo, job: &Job) -> Result<String> {
    let repo = match repo.with_token(&job.token) {
        // The job is older than the secret of the nodes: the primary knows the order in any case.
        Err(error) if error.is_token_refused() => repo.with_consistency(Consistency::Global),
        repo => repo?,
    };
    Ok(repo.query_one("select item from orders where id = $1", &[&job.order]).await?.get("item"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::from_env()?.start().await?;
    node.repo().batch_execute(SCHEMA).await?;
    let queued = serde_json::to_string(&place_order(&node.repo(), "lamp").await?)?;
    println!("the queue has {queued}");
    println!("to send: {}", handle(&node.repo(), &serde_json::from_str(&queued)?).await?);
    node.shutdown().await;
    Ok(())
}

/// The table of orders.
pub const SCHEMA: &str = "create table if not exists orders (id bigserial primary key, item text not null)";
