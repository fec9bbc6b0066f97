//! The faults: a table of small values, each with a beginning and an end.

mod databases;
mod links;
mod names;
mod patroni;
mod processes;
mod promotions;
mod resources;
mod stage;

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::SmallRng;

pub(super) use self::stage::{Hold, Trouble};
use self::{
    databases::DatabaseFault, links::LinkFault, names::NameFault, patroni::PatroniFault, processes::ProcessFault,
    promotions::PromotionFault, resources::ResourceFault,
};
use super::scene::{Plan, Scene};

/// A fault, with its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nothing,
    Database(DatabaseFault),
    Link(LinkFault),
    Name(NameFault),
    Patroni(PatroniFault),
    Process(ProcessFault),
    Promotion(PromotionFault),
    Resource(ResourceFault),
}

impl Fault {
    /// Returns what the fault needs.
    pub(super) fn plan(&self) -> Plan {
        match self.kind {
            Kind::Patroni(_) => Plan::Patroni,
            Kind::Promotion(_) => Plan::Promotion,
            _ => Plan::Lasting,
        }
    }

    /// Returns why this machine cannot have the fault.
    pub(super) fn skipped(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Patroni(fault) => fault.skipped(),
            Kind::Resource(fault) => fault.skipped(),
            _ => None,
        }
    }

    /// Begins, and returns what the end needs. `hold` says how long it lasts, for faults that act meanwhile.
    pub(super) async fn start(&self, scene: &Scene, rng: &mut SmallRng, hold: Hold) -> Result<Trouble> {
        let victim = rng.random_range(0..u32::MAX) as usize;
        match self.kind {
            Kind::Nothing => Ok(Trouble::default()),
            Kind::Database(fault) => fault.start(scene, victim).await,
            Kind::Link(fault) => fault.start(scene, victim, hold).await,
            Kind::Name(fault) => fault.start(scene, victim),
            Kind::Patroni(fault) => fault.start(scene, victim).await,
            Kind::Process(fault) => fault.start(scene, victim).await,
            Kind::Promotion(fault) => fault.start(scene).await,
            Kind::Resource(fault) => fault.start(scene, victim).await,
        }
    }

    /// Ends: everything is as before.
    pub(super) async fn end(&self, scene: &Scene, trouble: &mut Trouble) -> Result<()> {
        match self.kind {
            Kind::Nothing => Ok(()),
            Kind::Database(fault) => fault.end(scene, trouble).await,
            Kind::Link(fault) => fault.end(scene, trouble).await,
            Kind::Name(fault) => fault.end(scene, trouble),
            Kind::Patroni(fault) => fault.end(scene, trouble).await,
            Kind::Process(fault) => fault.end(scene, trouble).await,
            Kind::Promotion(fault) => fault.end(scene, trouble).await,
            Kind::Resource(fault) => fault.end(scene, trouble).await,
        }
    }
}

const fn fault(name: &'static str, kind: Kind) -> Fault {
    Fault { name, kind }
}

/// No fault at all: the measure for the others.
pub(super) const CALM: Fault = fault("no fault", Kind::Nothing);

/// All faults.
pub(super) const FAULTS: [Fault; 36] = [
    fault("peer killed", Kind::Process(ProcessFault::PeerKilled)),
    fault("peer stopped", Kind::Process(ProcessFault::PeerStopped)),
    fault("caller killed", Kind::Process(ProcessFault::CallerKilled)),
    fault("caller stopped", Kind::Process(ProcessFault::CallerStopped)),
    fault("replica killed", Kind::Database(DatabaseFault::ReplicaKilled)),
    fault("replica stopped", Kind::Database(DatabaseFault::ReplicaStopped)),
    fault("replay paused", Kind::Database(DatabaseFault::ReplayPaused)),
    fault("primary restarted", Kind::Database(DatabaseFault::PrimaryRestarted)),
    fault("primary killed", Kind::Database(DatabaseFault::PrimaryKilled)),
    fault("primary stopped", Kind::Database(DatabaseFault::PrimaryStopped)),
    fault("connections ended", Kind::Database(DatabaseFault::ConnectionsEnded)),
    fault("link cut", Kind::Link(LinkFault::Cut)),
    fault("link silent", Kind::Link(LinkFault::Silent)),
    fault("link half open to the primary", Kind::Link(LinkFault::HalfOpenToPrimary)),
    fault("link half open to the caller", Kind::Link(LinkFault::HalfOpenToCaller)),
    fault("link slow", Kind::Link(LinkFault::Slow)),
    fault("replication silent", Kind::Link(LinkFault::ReplicationSilent)),
    fault("reset before the request", Kind::Link(LinkFault::ResetBeforeRequest)),
    fault("reset after the request", Kind::Link(LinkFault::ResetAfterRequest)),
    fault("reset before the answer", Kind::Link(LinkFault::ResetBeforeAnswer)),
    fault("reset amid the answer", Kind::Link(LinkFault::ResetAmidAnswer)),
    fault("DNS empty", Kind::Name(NameFault::Empty)),
    fault("DNS silent", Kind::Name(NameFault::Silent)),
    fault("DNS old", Kind::Name(NameFault::Old)),
    fault("DNS wrong", Kind::Name(NameFault::Wrong)),
    fault("pools exhausted", Kind::Resource(ResourceFault::PoolsExhausted)),
    fault("connections exhausted", Kind::Resource(ResourceFault::ConnectionsExhausted)),
    fault("long lock", Kind::Resource(ResourceFault::LongLock)),
    fault("disk full", Kind::Resource(ResourceFault::DiskFull)),
    fault("clock moved", Kind::Resource(ResourceFault::ClockMoved)),
    fault("switchover", Kind::Promotion(PromotionFault::Switchover)),
    fault("failover, complete tail", Kind::Promotion(PromotionFault::CompleteTail)),
    fault("failover, lost tail", Kind::Promotion(PromotionFault::LostTail)),
    fault("Patroni's switchover", Kind::Patroni(PatroniFault::Switchover)),
    fault("Patroni's leader killed", Kind::Patroni(PatroniFault::LeaderKilled)),
    fault("Patroni's leader without etcd", Kind::Patroni(PatroniFault::LeaderWithoutEtcd)),
];
