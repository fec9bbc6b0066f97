//! Functions that are called from other regions.

use homing::{Context, Repo, Role};
use serde::{Deserialize, Serialize};

use crate::entry::NewEntry;

/// Signs many times, next to the database: the caller waits for one round trip in all.
#[homing::remote(name = "guestbook.sign_many")]
pub(crate) async fn sign_many(context: Context, name: String, times: u32) -> homing::Result<u32> {
    sign_each(context.repo(), &name, context.caller().as_str(), "in one named function", times).await
}

/// The same from wherever it is called: a round trip each time.
pub(crate) async fn sign_each(repo: &Repo, name: &str, region: &str, how: &str, times: u32) -> homing::Result<u32> {
    for time in 1..=times {
        let message = format!("{time} of {times}, {how}");
        repo.insert(&NewEntry { name, message: &message, region }).await?;
    }
    Ok(times)
}

/// How the database of one region is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) is_primary: bool,
    /// How old the last replayed commit is; none on a primary.
    pub(crate) lag_ms: Option<u64>,
    pub(crate) is_paused: bool,
    /// Whether the application's role may pause and resume replay.
    pub(crate) may_pause: bool,
}

/// What the page shows of each region. It only looks, so it may be repeated.
#[homing::remote(name = "guestbook.standing", idempotent)]
pub(crate) async fn how_is_it(context: Context) -> homing::Result<Standing> {
    let Some(database) = context.repo().database() else {
        return Err(homing::Error::failed("there is no database in this region"));
    };
    let state = database.tracker().look().await.map_err(|error| homing::Error::failed(error.to_string()))?;
    let lag_ms = state.lag.map(|lag| lag.as_millis() as u64);
    if state.role == Role::Primary {
        return Ok(Standing { is_primary: true, lag_ms, is_paused: false, may_pause: false });
    }
    let row = context.repo().with_observer(|_| {}).query_one(PAUSE_STATE, &[]).await?;
    Ok(Standing { is_primary: false, lag_ms, is_paused: row.try_get(0)?, may_pause: row.try_get(1)? })
}

const PAUSE_STATE: &str = "select pg_get_wal_replay_pause_state() <> 'not paused',
    has_function_privilege('pg_wal_replay_pause()', 'execute')";
