//! [`Report`], how a call went, and the observers that receive it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::PeerName;

use crate::error::fate::Fate;
use crate::position::Position;

/// How a call went: which server answered it, how long each stage took, and its fate if it failed.
///
/// Three things are not reported: calls whose future was dropped, even writes that may be committed; calls that were
/// refused as misuse before any work was done; and the course of a stream after its first rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The name of the call, for example `insert`. In a transaction each call has a report of its own, and the commit
    /// has one with the name `transaction`.
    pub operation: &'static str,

    /// The fate of the call, if it failed. If it failed after it was answered, for example because its rows do not fit
    /// or the replica lags, the other fields are set as well. Otherwise [`answered_by`](Self::answered_by) is
    /// [`Unknown`](AnsweredBy::Unknown), and the error names the place of the failure.
    pub fate: Option<Fate>,

    /// Which node or server answered it.
    pub answered_by: AnsweredBy,

    /// The name of the replica that answered, or `None` if the primary did. See
    /// [`Repo::replica`](crate::Repo::replica).
    pub replica: Option<Arc<str>>,

    /// Whether the call has committed something. PostgreSQL says so of statements that may only read, and of every forwarded
    /// statement that runs in a transaction block; other statements count as writes.
    pub wrote: bool,

    /// The position of a committed write. `None` for a read, and if the primary could not be asked for the position. A local
    /// primary is asked only if the call waits for a replica; see [`Repo::token`](crate::Repo::token) for the position of
    /// a session.
    pub position: Option<Position>,

    /// The number of peers that it was sent to. Zero if this node answered it.
    pub attempts: u32,

    /// How long each stage took.
    pub stages: Stages,
}

/// Which node or server answered a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnsweredBy {
    /// A server that this node is connected to: one of its replicas, or the primary next to it.
    Local,

    /// A node in the primary region.
    Peer(PeerName),

    /// The call failed, and its error names the place of the failure.
    Unknown,
}

/// The time of each stage of a call. Stages that it did not go through are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stages {
    /// The time to choose its server, to encode it, and to find a peer.
    pub route: Duration,

    /// The time on the way to the peer and back.
    pub forward: Duration,

    /// The time in the database, including the commit.
    pub execute: Duration,

    /// The time until the local replica had replayed it.
    pub replay_wait: Duration,
}

impl Report {
    /// Creates a report with no further details.
    pub(crate) fn new(operation: &'static str, answered_by: AnsweredBy) -> Self {
        Self {
            operation,
            fate: None,
            answered_by,
            replica: None,
            wrote: false,
            position: None,
            attempts: 0,
            stages: Stages::default(),
        }
    }
}

impl AnsweredBy {
    /// Returns the peer, if one answered.
    pub fn peer(&self) -> Option<&PeerName> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Local | Self::Unknown => None,
        }
    }
}

impl Stages {
    /// Returns the stages with their names, in the order in which a call goes through them.
    pub fn named(&self) -> [(&'static str, Duration); 4] {
        [("route", self.route), ("forward", self.forward), ("execute", self.execute), ("replay_wait", self.replay_wait)]
    }

    /// Returns the time of all stages together.
    pub fn total(&self) -> Duration {
        self.route + self.forward + self.execute + self.replay_wait
    }
}

/// The functions that receive the reports of calls.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(&Report) + Send + Sync;

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    /// Returns an observer that calls this one and then `observe`.
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
    fn added_observer_runs_after_the_first() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |name: &'static str| {
            let told = Arc::clone(&told);
            move |_: &Report| told.lock().unwrap().push(name)
        };
        let report = Report::new("get", AnsweredBy::Local);
        let first = Observer::default().and(tell("first"));
        first.and(tell("second")).and(tell("third")).observe(&report);
        first.observe(&report);
        assert_eq!(*told.lock().unwrap(), ["first", "second", "third", "first"]);
    }
}
