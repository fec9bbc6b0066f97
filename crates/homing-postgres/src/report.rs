use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::PeerName;

use crate::Position;

/// How a call went: where it was answered and what took how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The call, for example `insert`. In a transaction each call has a report of its own, and the commit one with the name
    /// `transaction`.
    pub operation: &'static str,

    /// Who answered it.
    pub answered_by: AnsweredBy,

    /// The name of the replica that answered; `None` where it was the primary. See [`Repo::replica`](crate::Repo::replica).
    pub replica: Option<Arc<str>>,

    /// Where a write is committed. `None` for a read, and where the primary could not be asked for it.
    pub position: Option<Position>,

    /// To how many peers it was sent: zero for what was answered here.
    pub attempts: u32,

    /// What took how long.
    pub stages: Stages,
}

/// Who answered a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnsweredBy {
    /// A database that this node reads from itself: one of its replicas, or the primary next to it.
    Here,

    /// A node in the primary region.
    Peer(PeerName),
}

/// The way of a call. Stages that it did not go through are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stages {
    /// Deciding where it goes, encoding it, and finding a peer.
    pub route: Duration,

    /// On the way to the peer and back.
    pub forward: Duration,

    /// In the database, the commit included.
    pub execute: Duration,

    /// Until the replica here had replayed it.
    pub replay_wait: Duration,
}

impl Stages {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.route + self.forward + self.execute + self.replay_wait
    }
}

/// Whom calls are reported to.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(&Report) + Send + Sync;

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    /// Both this one and `observe`.
    pub(crate) fn and(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        let Some(first) = self.0.clone() else {
            return Self::new(observe);
        };
        Self::new(move |report| {
            first(report);
            observe(report);
        })
    }

    pub(crate) fn observe(&self, report: &Report) {
        if let Some(observe) = &self.0 {
            observe(report);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn an_added_observer_is_told_after_the_first() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |name: &'static str| {
            let told = Arc::clone(&told);
            move |_: &Report| told.lock().unwrap().push(name)
        };
        let report = Report {
            operation: "get",
            answered_by: AnsweredBy::Here,
            replica: None,
            position: None,
            attempts: 0,
            stages: Stages::default(),
        };
        let first = Observer::default().and(tell("first"));
        first.and(tell("second")).and(tell("third")).observe(&report);
        first.observe(&report);
        assert_eq!(*told.lock().unwrap(), ["first", "second", "third", "first"]);
    }
}
