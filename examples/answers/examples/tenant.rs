//! How do I keep each tenant in a schema of its own?
//!
//! Take a handle with `with_schema`. All calls of the handle run in that schema, forwarded calls and named functions
//! too, and the pooled connections keep nothing of it.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example tenant
//! ```

use homing::error::SqlState;
use homing::{Node, Repo, Result};

/// Creates the schema of a tenant and its tables.
pub async fn create_tenant(repo: &Repo, tenant: &str) -> Result<Repo> {
    // `quote_ident` is PostgreSQL's own: a name never becomes SQL.
    let quoted: String = repo.query_one("select quote_ident($1)", &[&tenant]).await?.get(0);
    repo.batch_execute(&format!("create schema if not exists {quoted}")).await?;
    let tenant = repo.with_schema(tenant)?;
    tenant.batch_execute("create table if not exists invoices (id bigserial primary key, amount bigint)").await?;
    Ok(tenant)
}

/// Stores an invoice, and returns the sum of the tenant's invoices. `None` if the tenant does not exist.
pub async fn invoice(repo: &Repo, tenant: &str, amount: i64) -> Result<Option<i64>> {
    let tenant = repo.with_schema(tenant)?;
    match tenant.execute("insert into invoices (amount) values ($1)", &[&amount]).await {
        Err(error) if error.code() == Some(&SqlState::INVALID_SCHEMA_NAME) => return Ok(None),
        stored => stored?,
    };
    Ok(tenant.query_one("select sum(amount)::bigint from invoices", &[]).await?.get(0))
}

#[tokio::main]
async fn main() -> Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    for tenant in ["tenant_7", "tenant_8"] {
        create_tenant(&repo, tenant).await?;
        println!("{tenant} has to pay {:?}", invoice(&repo, tenant, 20).await?);
    }
    node.shutdown().await;
    Ok(())
}
