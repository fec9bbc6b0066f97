//! Failovers that Patroni makes.

use std::time::Duration;

use anyhow::{Context, Result};
use homing_testbed::{Cut, Patroni, PatroniMember};
use tokio::time::{sleep, timeout};

use super::stage::Trouble;
use crate::faults::scene::Scene;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatroniFault {
    Switchover,
    LeaderKilled,
    LeaderWithoutEtcd,
}

impl PatroniFault {
    pub(super) fn skipped(self) -> Option<&'static str> {
        let is_wanted = std::env::var("HOMING_TEST_PATRONI").is_ok_and(|value| value == "1");
        (!is_wanted).then_some("HOMING_TEST_PATRONI=1 makes it, with Patroni and etcd installed")
    }

    /// Breaks the leader, and waits until another member is one.
    pub(super) async fn start(self, scene: &Scene, victim: usize) -> Result<Trouble> {
        let cluster = scene.patroni()?;
        let leader = cluster.leader().await?;
        let mut trouble = Trouble::of(index(cluster, leader)?);
        trouble.begin_outage(None);
        match self {
            Self::Switchover => switch_over(cluster, leader, victim).await?,
            Self::LeaderKilled => leader.kill().await?,
            Self::LeaderWithoutEtcd => leader.etcd_link().cut(Cut::Blackhole).await,
        }
        timeout(ELECTION_LIMIT, wait_for_other(cluster, leader))
            .await
            .context("no other member became the leader")??;
        trouble.end_outages();
        Ok(trouble)
    }

    /// Mends the former leader, and waits until it follows the new one.
    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        let cluster = scene.patroni()?;
        let former = &cluster.members()[trouble.victim];
        match self {
            Self::Switchover => {}
            Self::LeaderKilled => former.start_again().await?,
            Self::LeaderWithoutEtcd => former.etcd_link().heal().await?,
        }
        Ok(cluster.settled().await?)
    }
}

/// Makes another member the leader. Patroni refuses those that need not have all commits.
async fn switch_over(cluster: &Patroni, leader: &PatroniMember, victim: usize) -> Result<()> {
    let mut others: Vec<_> = cluster.members().iter().filter(|member| member.name() != leader.name()).collect();
    let count = others.len();
    others.rotate_left(victim % count);
    let mut refused = None;
    for candidate in others {
        match cluster.switch_over_to(candidate).await {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("the cluster has one member")?.into())
}

async fn wait_for_other(cluster: &Patroni, former: &PatroniMember) -> Result<()> {
    while cluster.leader().await?.name() == former.name() {
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn index(cluster: &Patroni, member: &PatroniMember) -> Result<usize> {
    let index = cluster.members().iter().position(|other| other.name() == member.name());
    index.context("the leader is not a member")
}

/// Several times what the members take to notice that their leader is gone.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);
