//! Links that are cut, silent, half open or slow, and that reset connections at a stage of a call.

use std::time::Duration;

use anyhow::Result;
use homing_testbed::{CallStage, Cut, Link, Relay, Traffic};
use tokio::time::sleep;

use super::stage::{Hold, Task, Trouble};
use crate::faults::scene::{PRIMARY, REPLICAS, Scene};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkFault {
    Cut,
    Silent,
    HalfOpenToPrimary,
    HalfOpenToCaller,
    Slow,
    ReplicationSilent,
    ResetBeforeRequest,
    ResetAfterRequest,
    ResetBeforeAnswer,
    ResetAmidAnswer,
}

impl LinkFault {
    pub(super) async fn start(self, scene: &Scene, victim: usize, hold: Hold) -> Result<Trouble> {
        let mut trouble = Trouble::of(victim);
        let (region, round_trip) = REPLICAS[victim % REPLICAS.len()];
        let link = scene.world().link(region);
        match self {
            Self::Cut | Self::Silent | Self::HalfOpenToPrimary | Self::HalfOpenToCaller => {
                trouble.begin_outage(Some(region));
                self.cut(scene, region).await;
            }
            Self::Slow => {
                link.set_round_trip(round_trip + SLOW);
                link.set_jitter(SLOW);
            }
            Self::ReplicationSilent => link.only(Traffic::Replication).cut(Cut::Blackhole).await,
            Self::ResetBeforeRequest => trouble.task = Some(reset(scene, CallStage::BeforeRequest, hold)),
            Self::ResetAfterRequest => trouble.task = Some(reset(scene, CallStage::AfterRequest, hold)),
            Self::ResetBeforeAnswer => trouble.task = Some(reset(scene, CallStage::BeforeAnswer, hold)),
            Self::ResetAmidAnswer => trouble.task = Some(reset(scene, CallStage::AmidAnswer, hold)),
        }
        Ok(trouble)
    }

    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        trouble.task = None;
        for (region, round_trip) in REPLICAS {
            let link = scene.world().link(region);
            link.heal().await?;
            link.set_round_trip(round_trip);
            link.set_jitter(Duration::ZERO);
        }
        trouble.end_outages();
        Ok(())
    }

    async fn cut(self, scene: &Scene, region: &str) {
        let link = scene.world().link(region);
        match self {
            Self::HalfOpenToPrimary => {
                half_open(scene, region, link, Cut::BlackholeToServer, Cut::BlackholeToClient).await
            }
            Self::HalfOpenToCaller => {
                half_open(scene, region, link, Cut::BlackholeToClient, Cut::BlackholeToServer).await
            }
            Self::Cut => link.cut(Cut::Reset).await,
            _ => link.cut(Cut::Blackhole).await,
        }
    }
}

/// Cuts one direction of a link: of connections from the region by `from_region`, of those to the region by the other.
async fn half_open(scene: &Scene, region: &str, link: &Link, from_region: Cut, to_region: Cut) {
    let to = scene.world().peer_addresses(PRIMARY, region);
    for relay in link.relays() {
        let cut = if to.contains(&relay.address()) { to_region } else { from_region };
        relay.cut(cut).await;
    }
}

/// Resets the connection of a call at this stage, again and again.
fn reset(scene: &Scene, stage: CallStage, hold: Hold) -> Task {
    let mut relays = Vec::<Relay>::new();
    for (region, _) in REPLICAS {
        let peers = scene.world().peer_addresses(region, PRIMARY);
        let link = scene.world().link(region);
        relays.extend(link.relays().filter(|relay| peers.contains(&relay.address())).cloned());
    }
    Task(tokio::spawn(async move {
        for relay in relays.iter().cycle() {
            relay.reset_next_call(stage);
            sleep(hold / RESETS).await;
        }
    }))
}

/// What a slow link adds to its round trip, and to each direction at random.
const SLOW: Duration = Duration::from_millis(300);

/// How many resets a fault makes, at most.
const RESETS: u32 = 12;
