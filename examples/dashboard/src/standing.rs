use homing::{Context, Error, Role};
use serde::{Deserialize, Serialize};

/// How the database of one region is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub(crate) is_primary: bool,
    /// How old the last replayed commit is; none on a primary.
    pub(crate) lag_ms: Option<u64>,
    pub(crate) is_paused: bool,
}

/// What the page shows of each region. It only looks, so it may be repeated.
#[homing::remote(name = "dashboard.standing", idempotent)]
pub async fn how_is_it(context: Context) -> homing::Result<Standing> {
    let database = context.repo().database().ok_or_else(|| Error::failed("there is no database in this region"))?;
    let state = database.tracker().look().await.map_err(|error| Error::failed(error.to_string()))?;
    let lag_ms = state.lag.map(|lag| lag.as_millis() as u64);
    if state.role == Role::Primary {
        return Ok(Standing { is_primary: true, lag_ms, is_paused: false });
    }
    let paused = "select pg_get_wal_replay_pause_state() <> 'not paused'";
    let row = context.repo().with_observer(|_| {}).query_one(paused, &[]).await?;
    Ok(Standing { is_primary: false, lag_ms, is_paused: row.try_get(0)? })
}
