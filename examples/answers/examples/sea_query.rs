//! How do I build a condition from optional values?
//!
//! With the feature `sea-query`, begin a statement about an entity and add conditions to it. Values travel as
//! parameters, never inside the SQL.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example sea_query
//! ```

use homing::prelude::*;
use homing::sea_query::{Expr, ExprTrait, Order};

/// A house for sale.
#[derive(Debug, Entity)]
#[entity(table = "houses")]
pub struct House {
    #[entity(key)]
    id: i64,
    city: String,
    /// In euros.
    pub price: i64,
}

/// Returns the houses that match, the cheapest first, and at most 20. `None` matches every house.
pub async fn search(repo: &Repo, city: Option<&str>, highest_price: Option<i64>) -> homing::Result<Vec<House>> {
    let mut select = House::select();
    if let Some(city) = city {
        select.and_where(Expr::col("city").eq(city));
    }
    if let Some(price) = highest_price {
        select.and_where(Expr::col("price").lte(price));
    }
    repo.all_built(select.order_by("price", Order::Asc).limit(20)).await
}

#[tokio::main]
async fn main() -> homing::Result<()> {
    let node = Node::from_env()?.start().await?;
    node.repo().batch_execute(SCHEMA).await?;
    println!("{:?}", search(&node.repo(), None, Some(500)).await?);
    node.shutdown().await;
    Ok(())
}

/// Three houses.
pub const SCHEMA: &str = "
    create table if not exists houses (id bigint primary key, city text not null, price bigint not null);
    insert into houses values (1, 'Oslo', 900), (2, 'Oslo', 400), (3, 'Rome', 300) on conflict do nothing";
