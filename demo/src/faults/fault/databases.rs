//! Database servers that are killed, stopped and restarted, and replicas that do not replay.

use anyhow::Result;
use homing_testbed::{Postgres, Shutdown};

use super::stage::Trouble;
use crate::faults::scene::processes::Stopped;
use crate::faults::scene::{REPLICAS, Scene};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseFault {
    ReplicaKilled,
    ReplicaStopped,
    ReplayPaused,
    PrimaryRestarted,
    PrimaryKilled,
    PrimaryStopped,
    ConnectionsEnded,
}

impl DatabaseFault {
    pub(super) async fn start(self, scene: &Scene, victim: usize) -> Result<Trouble> {
        let mut trouble = Trouble::of(victim);
        let (primary, replica) = (scene.world().primary(), replica(scene, victim));
        match self {
            Self::ReplicaKilled => replica.kill().await?,
            Self::ReplicaStopped => trouble.stopped = Some(Stopped::stop(replica)?),
            Self::ReplayPaused => replica.pause_replay().await?,
            Self::PrimaryRestarted => {
                trouble.begin_outage(None);
                let shutdown = if victim.is_multiple_of(2) { Shutdown::Fast } else { Shutdown::Immediate };
                primary.stop(shutdown).await?;
                primary.start_again().await?;
                trouble.end_outages();
            }
            Self::PrimaryKilled => {
                trouble.begin_outage(None);
                primary.kill().await?;
            }
            Self::PrimaryStopped => {
                trouble.begin_outage(None);
                trouble.stopped = Some(Stopped::stop(primary)?);
            }
            Self::ConnectionsEnded => end_connections(primary).await?,
        }
        Ok(trouble)
    }

    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        let (primary, replica) = (scene.world().primary(), replica(scene, trouble.victim));
        match self {
            Self::ReplicaKilled => replica.start_again().await?,
            Self::ReplicaStopped | Self::PrimaryStopped => trouble.stopped = None,
            Self::ReplayPaused => replica.resume_replay().await?,
            Self::PrimaryKilled => primary.start_again().await?,
            Self::ConnectionsEnded => end_connections(primary).await?,
            Self::PrimaryRestarted => {}
        }
        trouble.end_outages();
        Ok(())
    }
}

fn replica(scene: &Scene, victim: usize) -> &Postgres {
    scene.world().replica(REPLICAS[victim % REPLICAS.len()].0)
}

/// Ends all connections to the server, as an administrator does.
async fn end_connections(server: &Postgres) -> Result<()> {
    let client = server.connect().await?;
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
               where backend_type = 'client backend' and pid <> pg_backend_pid()";
    client.query(sql, &[]).await?;
    Ok(())
}
