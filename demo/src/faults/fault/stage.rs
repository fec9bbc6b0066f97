//! A fault that is going on.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::faults::checker::stall::Outage;
use crate::faults::checker::stored::Fork;
use crate::faults::clock::{Micros, now};
use crate::faults::scene::processes::Stopped;

/// How long a fault lasts.
pub(crate) type Hold = Duration;

/// What a fault has begun.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// The number that chose what is broken.
    pub(super) victim: usize,
    /// The times in which regions cannot reach the primary. Those that go on have no end yet.
    pub(crate) outages: Vec<Outage>,
    /// What goes on meanwhile. It ends with this value.
    pub(super) task: Option<Task>,
    /// The processes of a server that is stopped. They go on with this value.
    pub(super) stopped: Option<Stopped>,
    /// Open connections to a database. They close with this value.
    pub(super) connections: Vec<tokio_postgres::Client>,
    /// Where a promoted server has left the log of the primary.
    pub(crate) fork: Option<Fork>,
}

impl Trouble {
    pub(super) fn of(victim: usize) -> Self {
        Self { victim, ..Self::default() }
    }

    /// Notes that a region, or all if it is `None`, cannot write from now on.
    pub(super) fn begin_outage(&mut self, region: Option<&str>) {
        self.outages.push(Outage { region: region.map(ToOwned::to_owned), from: now(), to: Micros::MAX });
    }

    /// Notes that all regions can write again.
    pub(super) fn end_outages(&mut self) {
        let now = now();
        self.outages.iter_mut().for_each(|outage| outage.to = outage.to.min(now));
    }
}

/// A task that ends when it is dropped.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
