use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::PeerName;

use crate::error::fate::Fate;
use crate::position::Position;

/// How a call went: where it was answered, what took how long, and what became of it if it failed.
///
/// Not reported are calls whose future was dropped, those that were refused for being wrong in themselves before anything
/// was done for them, and what a stream does after its first rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The call, for example `insert`. In a transaction each call has a report of its own, and the commit one with the name
    /// `transaction`.
    pub operation: &'static str,

    /// What became of it, if it failed. Of a call that somebody has answered all the same, because its rows do not fit or its
    /// commit cannot be seen here, the rest is known as well; else [`answered_by`](Self::answered_by) is
    /// [`Unknown`](AnsweredBy::Unknown), and the error says where it failed.
    pub fate: Option<Fate>,

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

    /// The call failed; its error says where.
    Unknown,
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

impl Report {
    /// Of a call of which nothing else is known.
    pub(crate) fn new(operation: &'static str, answered_by: AnsweredBy) -> Self {
        Self {
            operation,
            fate: None,
            answered_by,
            replica: None,
            position: None,
            attempts: 0,
            stages: Stages::default(),
        }
    }
}

impl AnsweredBy {
    /// The peer that answered, if it was one.
    pub fn peer(&self) -> Option<&PeerName> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Here | Self::Unknown => None,
        }
    }
}

impl Stages {
    /// The stages by name, in the order in which a call goes through them.
    pub fn named(&self) -> [(&'static str, Duration); 4] {
        [("route", self.route), ("forward", self.forward), ("execute", self.execute), ("replay_wait", self.replay_wait)]
    }

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
        let report = Report::new("get", AnsweredBy::Here);
        let first = Observer::default().and(tell("first"));
        first.and(tell("second")).and(tell("third")).observe(&report);
        first.observe(&report);
        assert_eq!(*told.lock().unwrap(), ["first", "second", "third", "first"]);
    }
}
