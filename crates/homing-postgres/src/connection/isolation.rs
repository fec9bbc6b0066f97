//! Questions to a replica on connections of a role whose default is serializable.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// Asks on a new connection, and once more with another default if the server does not support the first one: a replica refuses
/// all statements of a role whose default is serializable.
pub(super) async fn despite_serializable<T, F>(client: &Client, ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    match ask().await {
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            client.batch_execute("set default_transaction_isolation = 'repeatable read'").await?;
            ask().await
        }
        answer => answer,
    }
}
