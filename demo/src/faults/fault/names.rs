//! A DNS that answers nothing, or what is not true.

use anyhow::Result;
use homing_testbed::DnsAnswers;

use super::stage::Trouble;
use crate::faults::scene::{PRIMARY, REPLICAS, Scene};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameFault {
    Empty,
    Silent,
    /// The first node of the primary region has an address at which nothing listens.
    Old,
    /// The names of the primary region lead to the other replica region.
    Wrong,
}

impl NameFault {
    pub(super) fn start(self, scene: &Scene, victim: usize) -> Result<Trouble> {
        let (region, other) = regions(victim);
        let (world, mut trouble) = (scene.world(), Trouble::of(victim));
        match self {
            Self::Empty => world.dns(region).set_answers(DnsAnswers::Empty),
            Self::Silent => world.dns(region).set_answers(DnsAnswers::Silent),
            Self::Old => {
                let mut ports = ports(scene, region, PRIMARY);
                ports[0] = UNUSED_PORT;
                set(scene, region, &ports)?;
            }
            Self::Wrong => {
                trouble.begin_outage(Some(region));
                set(scene, region, &ports(scene, region, other))?;
            }
        }
        Ok(trouble)
    }

    pub(super) fn end(self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        let (region, _) = regions(trouble.victim);
        scene.world().dns(region).set_answers(DnsAnswers::FromRecords);
        set(scene, region, &ports(scene, region, PRIMARY))?;
        trouble.end_outages();
        Ok(())
    }
}

/// Returns the region whose DNS is wrong, and the other replica region.
fn regions(victim: usize) -> (&'static str, &'static str) {
    let region = |number: usize| REPLICAS[number % REPLICAS.len()].0;
    (region(victim), region(victim + 1))
}

/// Returns where the nodes of `from` find those of `to`.
fn ports(scene: &Scene, from: &str, to: &str) -> Vec<u16> {
    scene.world().peer_addresses(from, to).iter().map(std::net::SocketAddr::port).collect()
}

/// Sets what a region takes for the nodes of the primary region.
fn set(scene: &Scene, region: &str, ports: &[u16]) -> Result<()> {
    let domain = format!("{PRIMARY}.{}.internal", scene.world().app());
    let services = ports.iter().map(|port| (domain.as_str(), *port));
    Ok(scene.world().dns(region).set_services(&format!("_homing._tcp.{domain}"), services)?)
}

/// The port of discard (RFC 863), at which nothing listens.
const UNUSED_PORT: u16 = 9;
