//! [`SetCommand`], which gives a connection the settings of a handle.

use futures_util::future::join;
use tokio_postgres::{Error, Statement};

use super::pool::Connection;
use crate::scope::LocalSettings;
use crate::scope::schema::Schema;
use crate::scope::settings::Settings;

/// A prepared command that sets settings. Their names and values are its parameters, so all handles share one prepared
/// statement. It does nothing if there are no settings.
#[derive(Debug)]
pub(crate) struct SetCommand<'a> {
    connection: &'a Connection,
    /// `None` if there are no settings.
    statement: Option<Statement>,
    names: Vec<&'a str>,
    values: Vec<&'a str>,
    lifetime: Lifetime,
}

/// How long settings hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the transaction ends.
    Transaction,

    /// Until the connection is closed.
    Connection,
}

impl<'a> SetCommand<'a> {
    /// Prepares the command, unless this connection has prepared it before.
    pub(crate) async fn prepare(
        connection: &'a Connection,
        settings: &'a Settings,
        lifetime: Lifetime,
    ) -> Result<Self, Error> {
        let statement = match settings.is_empty() {
            true => None,
            false => Some(connection.statement(SET).await?),
        };
        Ok(Self { connection, statement, names: settings.names(), values: settings.values(), lifetime })
    }

    /// Sets the settings. The first poll sends the command.
    pub(crate) async fn run(&self) -> Result<(), Error> {
        let Some(statement) = &self.statement else { return Ok(()) };
        let is_local = self.lifetime == Lifetime::Transaction;
        self.connection.execute(statement, &[&self.names, &self.values, &is_local]).await.map(drop)
    }

    /// Sends `sql`, and the settings behind it without waiting.
    pub(crate) async fn run_after(&self, sql: &str) -> Result<(), Error> {
        // The driver sends a message when its future is first polled, so they are sent in this order.
        let (ran, set) = join(self.connection.batch_execute(sql), self.run()).await;
        ran?;
        set
    }
}

/// Begins a transaction, by the SQL of `begin`, with the schema and the settings of a handle.
pub(crate) async fn begin_with(connection: &Connection, begin: &str, local: &LocalSettings) -> Result<(), Error> {
    let set = SetCommand::prepare(connection, &local.settings, Lifetime::Transaction).await?;
    let enter = local.schema.as_ref().map_or("", Schema::enter_transaction);
    set.run_after(&format!("{begin}; {enter}")).await
}

/// `SET LOCAL` takes no parameters.
/// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET>
const SET: &str = "
    select pg_catalog.set_config(name, value, $3)
    from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
        as settings (name, value)";
