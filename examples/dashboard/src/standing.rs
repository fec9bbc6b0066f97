use homing::database::Role;
use homing::{Context, Error, OnLag, Repo};
use serde::{Deserialize, Serialize};

/// The state of the database in one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub(crate) is_primary: bool,
    /// The age of the last replayed commit; `None` on a primary.
    pub(crate) lag_ms: Option<i64>,
    pub(crate) is_paused: bool,
    /// Its position in the write-ahead log.
    pub(crate) position: String,
}

/// Returns what the page shows of a region. It only reads, so it may be repeated.
#[homing::remote(name = "dashboard.standing", idempotent)]
pub async fn how_is_it(context: Context) -> homing::Result<Standing> {
    let row = local(context.repo())?.query_one(STANDING, &[]).await?;
    let is_primary = !row.try_get::<_, bool>(0)?;
    let (lag_ms, is_paused, position) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    Ok(Standing { is_primary, lag_ms, is_paused, position })
}

/// Returns a handle that reads from the database of this region alone, however far behind it is. Other reads leave out a
/// paused replica after a while, but the page has to show it.
pub(crate) fn local(repo: &Repo) -> homing::Result<Repo> {
    let status = repo.replicas().status();
    if status.is_empty() {
        return Err(Error::failed("this region has no database"));
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
