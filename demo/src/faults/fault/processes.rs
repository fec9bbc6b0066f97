//! Nodes that are killed and stopped.

use anyhow::Result;

use super::stage::Trouble;
use crate::faults::scene::{Node, PRIMARY, Scene};

/// A peer is a node in the primary region, a caller one in another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessFault {
    PeerKilled,
    PeerStopped,
    CallerKilled,
    CallerStopped,
}

impl ProcessFault {
    pub(super) async fn start(self, scene: &Scene, victim: usize) -> Result<Trouble> {
        let mut trouble = Trouble::of(victim);
        let node = self.node(scene, victim);
        // The primary region has another node, which writes on.
        if !self.is_of_peer() {
            trouble.begin_outage(Some(node.region));
        }
        match self {
            Self::PeerKilled | Self::CallerKilled => node.process.kill().await?,
            Self::PeerStopped | Self::CallerStopped => node.process.pause().await?,
        }
        Ok(trouble)
    }

    pub(super) async fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        let node = self.node(scene, trouble.victim);
        match self {
            Self::PeerKilled | Self::CallerKilled => node.process.restart().await?,
            Self::PeerStopped | Self::CallerStopped => node.process.resume().await?,
        }
        trouble.end_outages();
        Ok(())
    }

    fn node(self, scene: &Scene, victim: usize) -> &Node {
        let mut nodes: Vec<_> =
            scene.nodes().iter().filter(|node| (node.region == PRIMARY) == self.is_of_peer()).collect();
        nodes.swap_remove(victim % nodes.len())
    }

    fn is_of_peer(self) -> bool {
        matches!(self, Self::PeerKilled | Self::PeerStopped)
    }
}
