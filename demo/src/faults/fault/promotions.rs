//! The standby of the primary region is promoted.

use std::time::Duration;

use anyhow::{Context, Result};
use homing_testbed::{Cut, Postgres, Shutdown};
use tokio::time::sleep;

use super::stage::Trouble;
use crate::faults::checker::stored::Fork;
use crate::faults::clock::now;
use crate::faults::scene::Scene;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromotionFault {
    /// The primary is shut down in order: it hands over all of its log.
    Switchover,
    /// The primary is killed, and had handed over all of its log.
    CompleteTail,
    /// The primary is killed, and had not handed over the end of its log.
    LostTail,
}

impl PromotionFault {
    pub(super) async fn start(self, scene: &Scene) -> Result<Trouble> {
        let mut trouble = Trouble::default();
        let (primary, standby) = (scene.world().primary(), scene.standby()?);
        match self {
            Self::Switchover => {
                trouble.begin_outage(None);
                primary.stop(Shutdown::Fast).await?;
            }
            Self::CompleteTail => {
                // Each commit waits for the standby, as in a cluster that must lose nothing.
                primary.reconfigure(&[("synchronous_standby_names", "standby")]).await?;
                sleep(BEFORE_KILL).await;
                trouble.begin_outage(None);
                primary.kill().await?;
            }
            Self::LostTail => {
                standby.upstream.cut(Cut::Blackhole).await;
                sleep(BEFORE_KILL).await;
                trouble.begin_outage(None);
                primary.kill().await?;
                // What is under way on the link never arrives.
                standby.upstream.cut(Cut::Reset).await;
            }
        }
        Ok(trouble)
    }

    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        let standby = &scene.standby()?.server;
        standby.promote().await?;
        let at = now();
        trouble.end_outages();
        if self == Self::LostTail {
            trouble.fork = Some(Fork { place: fork(standby).await?, at });
        }
        Ok(())
    }
}

/// Returns where the second timeline left the first one: the last line of the history file says so.
async fn fork(promoted: &Postgres) -> Result<i64> {
    let sql = "select (split_part(line, E'\\t', 2)::pg_lsn - '0/0')::bigint \
               from regexp_split_to_table(pg_read_file('pg_wal/00000002.history'), E'\\n') line \
               where line like '1%'";
    let row = promoted.connect().await?.query_opt(sql, &[]).await?;
    Ok(row.context("the promoted server has no history")?.try_get(0)?)
}

/// Enough for writes of all callers.
const BEFORE_KILL: Duration = Duration::from_millis(700);
