use homing::database::Role;
use homing::{Context, Error, OnLag, Repo};
use serde::{Deserialize, Serialize};

/// How the database of one region is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub(crate) is_primary: bool,
    /// How old the last replayed commit is; none on a primary.
    pub(crate) lag_ms: Option<i64>,
    pub(crate) is_paused: bool,
    /// How far it is in the write-ahead log.
    pub(crate) position: String,
}

/// What the page shows of each region. It only looks, so it may be repeated.
#[homing::remote(name = "dashboard.standing", idempotent)]
pub async fn how_is_it(context: Context) -> homing::Result<Standing> {
    let row = here(context.repo())?.query_one(STANDING, &[]).await?;
    let is_primary = !row.try_get::<_, bool>(0)?;
    let (lag_ms, is_paused, position) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    Ok(Standing { is_primary, lag_ms, is_paused, position })
}

/// The database of this region and no other, however far behind it is: one that is paused is left out of all reads after
/// a while, and is what the page is about.
pub(crate) fn here(repo: &Repo) -> homing::Result<Repo> {
    let status = repo.replicas().status();
    if status.is_empty() {
        return Err(Error::failed("there is no database in this region"));
    }
    let replica = status.iter().find(|replica| replica.role != Some(Role::Primary));
    let repo = replica.map_or_else(|| Ok(repo.clone()), |replica| repo.replica(&replica.name))?;
    Ok(repo.session().with_on_lag(OnLag::Fail).with_observer(|_| {}))
}

const STANDING: &str = "select pg_is_in_recovery(),
    case when pg_is_in_recovery() then
        case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
        else (extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::int8 end
    end,
    case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() <> 'not paused' else false end,
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text";
