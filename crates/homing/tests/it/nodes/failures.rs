//! What callers and logs learn of functions that fail.

use homing::{Context, Error};

use super::functions::node_with;
use crate::fixture::World;

#[homing::remote]
async fn pay(_: Context, amount: i64) -> homing::Result<()> {
    let error = Error::failed(format!("account 12 has 20 of {amount} EUR"));
    Err(error.with_client_message("there is not enough money"))
}

#[homing::remote(transactional)]
async fn pay_or_nothing(context: Context, amount: i64) -> homing::Result<()> {
    context.repo().execute("select 1", &[]).await?;
    let error = Error::failed(format!("account 12 has 20 of {amount} EUR"));
    Err(error.with_client_message("there is not enough money"))
}

#[tokio::test]
async fn client_message_crosses_the_hop() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(pay).register(pay_or_nothing)).await;
    for repo in [iad.repo(), syd] {
        for error in [pay::call(&repo, 50).await.unwrap_err(), pay_or_nothing::call(&repo, 50).await.unwrap_err()] {
            assert_eq!(error.client_message(), "there is not enough money");
            assert!(error.to_string().contains("account 12 has 20 of 50 EUR"), "{error}");
        }
    }
}
