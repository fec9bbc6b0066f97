//! [`Abilities`], which of PostgreSQL's functions a server lets this role call.
//!
//! A server refuses a function in three ways: the role may not call it (42501), the server does not support it (0A000, such as
//! Aurora's), or it does not have it (42883). PostgreSQL checks the right to call a function even in a branch that is not
//! taken, so each group of functions is tried by a query of its own.

use futures_util::future::join5;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::isolation::despite_serializable;
use crate::position::kind::PositionKind;

/// Which functions a server lets this role call, and by what it tells positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) positions: PositionKind,
    /// Whether it tells the identifier of its cluster (`pg_control_system()`).
    pub(crate) cluster: bool,
    /// Whether it tells timelines from its control file (`pg_control_checkpoint()`, `pg_control_recovery()`).
    pub(crate) timeline: bool,
    /// Whether it tells of its WAL receiver (`pg_stat_get_wal_receiver()`).
    pub(crate) receiver: bool,
}

impl Abilities {
    /// Those of a server that lets the role call all functions.
    pub(crate) const ALL: Self = Self { positions: PositionKind::Lsn, cluster: true, timeline: true, receiver: true };

    /// Tries the functions, in one round trip. `wanted` is the kind of positions that the settings name.
    pub(crate) async fn explore(client: &Client, wanted: Option<PositionKind>) -> Result<Self, Error> {
        if wanted == Some(PositionKind::Lsn) {
            // The settings know better: what the server refuses is an error.
            return Ok(Self::ALL);
        }
        despite_serializable(client, || Self::try_all(client, wanted)).await
    }

    /// Asks a server on a new connection, with the functions that it lets the role call. `known` are those that an earlier
    /// connection has found. They are explored if there are none, or if the server refuses one of them.
    pub(crate) async fn ask_with<T, F>(
        known: Option<Self>,
        explore: impl Future<Output = Result<Self, Error>>,
        ask: impl Fn(Self) -> F,
    ) -> Result<(T, Self), Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if let Some(abilities) = known {
            match ask(abilities).await {
                Err(error) if is_refusal(&error) => {}
                answer => return Ok((answer?, abilities)),
            }
        }
        let abilities = explore.await?;
        Ok((ask(abilities).await?, abilities))
    }

    async fn try_all(client: &Client, wanted: Option<PositionKind>) -> Result<Self, Error> {
        let is_aurora = async { client.query_typed_one(IS_AURORA, &[]).await?.try_get::<_, bool>(0) };
        let (is_aurora, log, cluster, timeline, receiver) = join5(
            is_aurora,
            allows(client, LOG),
            allows(client, "select from pg_control_system()"),
            allows(client, "select from pg_control_recovery(), pg_control_checkpoint()"),
            allows(client, "select from pg_stat_get_wal_receiver()"),
        )
        .await;
        let (is_aurora, log) = (is_aurora?, log?);
        let (cluster, timeline, receiver) = (cluster?, timeline?, receiver?);
        let has_all = log && cluster && timeline && receiver;
        let positions = match wanted {
            None if has_all && !is_aurora => PositionKind::Lsn,
            _ => PositionKind::Transaction,
        };
        Ok(Self { positions, cluster, timeline, receiver })
    }
}

/// Returns whether the server refuses a function.
pub(crate) fn is_refusal(error: &Error) -> bool {
    let refusals = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::FEATURE_NOT_SUPPORTED, SqlState::UNDEFINED_FUNCTION];
    error.code().is_some_and(|code| refusals.contains(code))
}

async fn allows(client: &Client, sql: &str) -> Result<bool, Error> {
    match client.query_typed(sql, &[]).await {
        Ok(_) => Ok(true),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Some of Aurora's servers tell a place in the log that others do not have.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_version.html>
const IS_AURORA: &str = "select to_regproc('pg_catalog.aurora_version') is not null";

/// The functions that tell places in the log. Those of one role are not called on the other.
const LOG: &str = "
    select case when replica then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end,
           case when replica then pg_last_wal_receive_lsn() else pg_current_wal_insert_lsn() end,
           case when not replica then pg_walfile_name(pg_current_wal_flush_lsn()) end,
           case when replica then pg_last_xact_replay_timestamp() end
    from (select pg_is_in_recovery() as replica offset 0) as server";
