//! [`Replicas`], the servers that a node reads from, and the choice of one of them for a read.
//!
//! A *replica set* has *entries*, the connection strings of its list, and *members*, the servers that these lead to. A
//! member that is down or too far behind is *left out*: reads do not go to it. The set is *in use* if reads were made
//! lately.

mod choice;
mod entry;
mod lag;
mod list;
mod member;
mod resolve;
mod settings;
mod status;
mod task;
mod usage;
mod watched;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::choice::{Candidate, Preference};
use self::lag::Newest;
use self::member::{Origin, Snapshot};
use self::resolve::Resolver;
use self::task::{Message, ReplicaTask, TaskParts};
use self::usage::Usage;
use self::watched::Watched;
use crate::database::{Config, Database};
use crate::error::Result;
use crate::position::Position;
use crate::position::role::Role;

pub use choice::Choose;
pub use list::{Replica, ReplicaList};
pub(crate) use member::Member;
pub use settings::ReplicaSettings;
pub use status::{Health, ReplicaStatus};

/// The servers that a node reads from: any number of replicas, and in the primary region the primary itself.
///
/// This is a handle, cheap to clone, of a background task. The task follows a [`ReplicaList`] and the host names in it,
/// connects to each server, and probes the servers while reads are made. A probe measures whether a server answers, how
/// long it takes, and how far the server is behind. A replica that is down or too far behind is left out, and comes
/// back by itself. While no reads are made, the task sends no probes. The task ends when the last handle is dropped.
///
/// Each server has an address, a connection pool and a [`Tracker`](crate::Tracker) of its own.
///
/// # Limits
///
/// - A replica that hangs without closing its connections costs time. A read on an open connection fails after
///   [`call_timeout`](crate::Options::call_timeout); later reads are answered by the primary after that time, until the
///   replica is left out.
/// - Nothing fences an old primary. If the server next to this node says that it is a primary, this node writes there,
///   whatever other regions say.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<ReplicaSet>,
}

struct ReplicaSet {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    usage: Arc<Usage>,
    /// The newest known position of the primary. Locked for a few operations, by reads and by the task.
    newest: Arc<Mutex<Newest>>,
    /// `None` for a fixed set, which has no task. The task ends when this is dropped.
    messages: Option<mpsc::Sender<Message>>,
    /// Keeps the channel of a fixed set open.
    _publish: Option<watch::Sender<Arc<Snapshot>>>,
    task: Option<JoinHandle<()>>,
}

/// The requirements of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaRequest<'a> {
    pub(crate) choose: Choose,

    /// Only the replica of this name.
    pub(crate) name: Option<&'a str>,

    /// The position that the server should have replayed.
    pub(crate) position: Option<Position>,

    /// Whether an earlier wait for the position took too long.
    pub(crate) is_behind: bool,

    /// The ids of members that could not answer this read.
    pub(crate) except: &'a [u64],
}

impl Replicas {
    /// Connects to the replicas of the list, and follows the list from then on.
    ///
    /// `primary` is the primary next to this node, if there is one. It has to answer. Its host name is followed too: if
    /// it leads to another primary later, reads and writes go there.
    ///
    /// A replica that does not answer, or whose name cannot be resolved, is logged and does not affect the others. If
    /// no replica answers, the primary answers the reads.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](crate::Error::is_configuration) if the primary does not answer or is a replica, if the only
    /// replica is a primary, or if the system's DNS settings cannot be read.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections that it has opened.
    pub async fn start(primary: Option<Config>, list: &ReplicaList, settings: ReplicaSettings) -> Result<Self> {
        let resolver = Resolver::new(&settings)?;
        let primary = match primary {
            Some(config) => Some(resolver.connect(config).await?),
            None => None,
        };
        let (publish, snapshot) = watch::channel(Arc::default());
        let (sender, messages) = mpsc::channel(MAX_MESSAGES);
        let (ready, is_ready) = oneshot::channel();
        let usage = Arc::new(Usage::new());
        let newest = Arc::new(Mutex::new(Newest::new(settings.max_lag.unwrap_or_default())));
        let is_only = primary.is_none() && list.names().len() == 1;
        let parts = TaskParts {
            list: list.subscribe(),
            settings,
            resolver: Arc::new(resolver),
            publish,
            messages,
            usage: Arc::clone(&usage),
            newest: Arc::clone(&newest),
            ready: Some(ready),
        };
        let task = tokio::spawn(ReplicaTask::new(parts, primary).run());
        let inner = ReplicaSet { snapshot, usage, newest, messages: Some(sender), _publish: None, task: Some(task) };
        let replicas = Self { inner: Arc::new(inner) };
        // Name resolution and connections have time limits of their own.
        let _ = is_ready.await;
        if is_only && let [only] = &replicas.snapshot().0[..] {
            only.check_role()?;
        }
        Ok(replicas)
    }

    /// Returns the last known state of each server, the primary next to this node first. Sends no query.
    pub fn status(&self) -> Vec<ReplicaStatus> {
        self.snapshot().0.iter().map(|member| member.status()).collect()
    }

    /// Waits until the state of the servers satisfies the condition, and returns that state. Meanwhile the servers are
    /// probed as if reads were made.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe.
    pub async fn wait_for(&self, mut is_satisfied: impl FnMut(&[ReplicaStatus]) -> bool) -> Vec<ReplicaStatus> {
        let _follower = self.inner.usage.follow();
        let mut snapshot = self.inner.snapshot.clone();
        loop {
            snapshot.borrow_and_update();
            let status = self.status();
            if is_satisfied(&status) {
                return status;
            }
            if snapshot.changed().await.is_err() {
                // The state never changes again.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Chooses the server for a read. Returns `None` if the primary has to answer it.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](crate::Error::is_misuse) if the request names a replica that does not exist.
    pub(crate) fn choose(&self, request: &ReplicaRequest<'_>) -> Result<Option<Arc<Member>>> {
        self.inner.usage.touch();
        let snapshot = self.snapshot();
        let members = snapshot.0.iter().filter(|member| request.name.is_none_or(|name| member.is_called(name)));
        let members: Vec<_> = members.collect();
        if let Some(name) = request.name
            && members.is_empty()
        {
            return Err(snapshot.no_such(name));
        }
        let members: Vec<_> = members.into_iter().filter(|member| !request.except.contains(&member.id)).collect();
        let candidates: Vec<_> = members.iter().map(|member| Candidate::of(member, request.position)).collect();
        let preference = match (request.name, request.is_behind) {
            (Some(_), _) => Preference::ByHand(request.choose),
            (None, true) => Preference::Reached(request.choose),
            (None, false) => Preference::Usable(request.choose),
        };
        Ok(choice::choose(&candidates, preference, &mut rand::rng()).map(|index| Arc::clone(members[index])))
    }

    /// Returns the server for reads without further requirements.
    pub(crate) fn nearest(&self) -> Option<Arc<Member>> {
        let request =
            ReplicaRequest { choose: Choose::Nearest, name: None, position: None, is_behind: false, except: &[] };
        self.choose(&request).ok().flatten()
    }

    /// Fails if no replica has this name.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let snapshot = self.snapshot();
        if snapshot.0.iter().any(|member| member.is_called(name)) { Ok(()) } else { Err(snapshot.no_such(name)) }
    }

    /// Returns the primary if it is next to this node.
    pub(crate) fn local_primary(&self) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let primaries = snapshot.0.iter().filter(|member| member.is_local_primary());
        // After a failover there may be two; the one that was promoted last counts.
        primaries.max_by_key(|member| (member.timeline(), member.origin == Origin::OwnPrimary)).cloned()
    }

    /// Returns the server for peers and functions: the primary if it is one of these, otherwise any server, which will
    /// answer that it is a replica.
    pub(crate) fn serving(&self) -> Option<Arc<Member>> {
        let first = || self.snapshot().0.first().cloned();
        self.local_primary().or_else(first)
    }

    /// Asks all servers for their role, and returns one that was promoted since it was last asked.
    pub(crate) async fn promoted(&self, deadline: Instant) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let mut asked: FuturesUnordered<_> = snapshot
            .0
            .iter()
            .map(|member| async move { (member, member.database.pool().ask(deadline).await) })
            .collect();
        // The first answer counts, because other servers may hang.
        while let Some((member, server)) = asked.next().await {
            if server.is_ok_and(|server| server.role == Role::Primary) {
                return Some(Arc::clone(member));
            }
        }
        None
    }

    /// Returns a server that answers and is known to have reached the position, however far it is behind.
    pub(crate) fn last_resort(&self, name: Option<&str>, position: Option<Position>) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let candidates = snapshot.0.iter().filter(|member| {
            let has_name = name.is_none_or(|name| member.is_called(name));
            let has_reached = position.is_none_or(|position| member.is_known_to_have_reached(position));
            has_name && has_reached && member.status.health == Health::TooFarBehind
        });
        candidates.min_by_key(|member| member.status.lag).cloned()
    }

    /// Notes that the primary has reached this position.
    pub(crate) fn heard(&self, position: Position) {
        self.inner.newest.lock().unwrap_or_else(PoisonError::into_inner).hear(position, Instant::now());
    }

    /// Notes that this server could not answer a read.
    pub(crate) fn suspect(&self, member: &Member) {
        if let Some(messages) = &self.inner.messages {
            // If the queue is full, other reads have already sent the same.
            let _ = messages.try_send(Message::Suspect(member.id));
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.snapshot.borrow())
    }
}

/// A fixed set of this database only.
impl From<Database> for Replicas {
    fn from(database: Database) -> Self {
        Some(database).into()
    }
}

/// A fixed set of this database only, or a fixed empty set.
impl From<Option<Database>> for Replicas {
    fn from(database: Option<Database>) -> Self {
        let members = database.into_iter().map(|database| Arc::new(Watched::alone(database)));
        let (publish, snapshot) = watch::channel(Arc::new(Snapshot(members.collect())));
        Self {
            inner: Arc::new(ReplicaSet {
                snapshot,
                usage: Arc::new(Usage::new()),
                newest: Arc::new(Mutex::new(Newest::new(std::time::Duration::ZERO))),
                messages: None,
                _publish: Some(publish),
                task: None,
            }),
        }
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Messages in the channel to the task. Reads that fail at the same time send the same message, so a few are enough.
const MAX_MESSAGES: usize = 64;
