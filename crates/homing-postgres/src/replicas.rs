//! [`Replicas`], the servers that a node reads from, and which of them a read goes to.

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
/// A handle, cheap to clone, of a task that follows a [`ReplicaList`] and the host names in it, connects to each server,
/// and looks at them while reads are being made: how far they are away, how far behind, whether they answer. A replica
/// that is down or too far behind is left out and comes back by itself. While no reads are made, no replica is asked
/// anything. The task ends when the last handle is dropped.
///
/// Each server has an address, a pool and a [`Tracker`](crate::Tracker) of its own.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<ReplicaSet>,
}

struct ReplicaSet {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    usage: Arc<Usage>,
    newest: Arc<Mutex<Newest>>,
    /// `None` for a set that never changes, which has no task. The task ends when this is dropped.
    messages: Option<mpsc::Sender<Message>>,
    /// What a set that never changes would publish through.
    _publish: Option<watch::Sender<Arc<Snapshot>>>,
    task: Option<JoinHandle<()>>,
}

/// What a read wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaRequest<'a> {
    pub(crate) choose: Choose,

    /// The one of this name only.
    pub(crate) name: Option<&'a str>,

    /// What it has to have replayed.
    pub(crate) position: Option<Position>,

    /// Whether a wait for the position was too long before.
    pub(crate) is_behind: bool,

    /// Those that could not answer.
    pub(crate) except: &'a [u64],
}

impl Replicas {
    /// Connects to the replicas of the list, and goes on following it.
    ///
    /// `primary` is the primary next to this node, if there is one, which has to answer. Its host name is followed too:
    /// should it lead to another primary, reads and writes go there.
    ///
    /// A replica that does not answer, or whose name cannot be resolved, is logged and does not stop the others; without
    /// any, reads are answered by the primary.
    ///
    /// # Errors
    ///
    /// Configuration: the primary does not answer or is none, the only replica is a primary, or the system's DNS
    /// settings cannot be read.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// What was opened is closed.
    pub async fn start(primary: Option<Config>, list: &ReplicaList, settings: ReplicaSettings) -> Result<Self> {
        let resolver = Resolver::new(&settings)?;
        let primary = match primary {
            Some(config) => Some(resolver.connect(config).await?),
            None => None,
        };
        let (publish, snapshot) = watch::channel(Arc::default());
        let (sender, messages) = mpsc::channel(MESSAGES);
        let (ready, is_ready) = oneshot::channel();
        let usage = Arc::new(Usage::new());
        let newest = Arc::new(Mutex::new(Newest::new(settings.max_lag.unwrap_or_default())));
        let is_only = primary.is_none() && list.names().len() == 1;
        let parts = TaskParts {
            list: list.subscribe(),
            settings,
            resolver,
            publish,
            messages,
            usage: Arc::clone(&usage),
            newest: Arc::clone(&newest),
            ready,
        };
        let task = tokio::spawn(ReplicaTask::new(parts, primary).run());
        let inner = ReplicaSet { snapshot, usage, newest, messages: Some(sender), _publish: None, task: Some(task) };
        let replicas = Self { inner: Arc::new(inner) };
        // Names and connections have limits in time of their own.
        let _ = is_ready.await;
        if is_only && let [only] = &replicas.snapshot().0[..] {
            only.check_role()?;
        }
        Ok(replicas)
    }

    /// What is known of each server, the primary next to this node first. Nobody is asked.
    pub fn status(&self) -> Vec<ReplicaStatus> {
        self.snapshot().0.iter().map(|member| member.status()).collect()
    }

    /// Waits until what is known of the servers fits, and returns it. Meanwhile they are looked at as if reads were
    /// made.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_for(&self, mut fits: impl FnMut(&[ReplicaStatus]) -> bool) -> Vec<ReplicaStatus> {
        let _follower = self.inner.usage.follow();
        let mut snapshot = self.inner.snapshot.clone();
        loop {
            snapshot.borrow_and_update();
            let status = self.status();
            if fits(&status) {
                return status;
            }
            if snapshot.changed().await.is_err() {
                // Nothing will change any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The server that a read goes to. `None` if the primary is to answer it.
    ///
    /// # Errors
    ///
    /// Misuse, if there is none of the name that is wanted.
    pub(crate) fn choose(&self, wanted: &ReplicaRequest<'_>) -> Result<Option<Arc<Member>>> {
        self.inner.usage.touch();
        let snapshot = self.snapshot();
        let members = snapshot.0.iter().filter(|member| wanted.name.is_none_or(|name| member.is_called(name)));
        let members: Vec<_> = members.collect();
        if let Some(name) = wanted.name
            && members.is_empty()
        {
            return Err(snapshot.no_such(name));
        }
        let members: Vec<_> = members.into_iter().filter(|member| !wanted.except.contains(&member.id)).collect();
        let candidates: Vec<_> = members.iter().map(|member| Candidate::of(member, wanted.position)).collect();
        let wish = match (wanted.name, wanted.is_behind) {
            (Some(_), _) => Preference::ByHand(wanted.choose),
            (None, true) => Preference::Reached(wanted.choose),
            (None, false) => Preference::Usable(wanted.choose),
        };
        Ok(choice::choose(&candidates, wish, &mut rand::rng()).map(|index| Arc::clone(members[index])))
    }

    /// The server that reads go to where nothing else is said.
    pub(crate) fn nearest(&self) -> Option<Arc<Member>> {
        let wanted =
            ReplicaRequest { choose: Choose::Nearest, name: None, position: None, is_behind: false, except: &[] };
        self.choose(&wanted).ok().flatten()
    }

    /// Fails if there is none of this name.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let snapshot = self.snapshot();
        if snapshot.0.iter().any(|member| member.is_called(name)) { Ok(()) } else { Err(snapshot.no_such(name)) }
    }

    /// The primary, if it is next to this node.
    pub(crate) fn local_primary(&self) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let homes = snapshot.0.iter().filter(|member| member.is_local_primary());
        // After a failover the one that was promoted last.
        homes.max_by_key(|member| (member.timeline(), member.origin == Origin::OwnPrimary)).cloned()
    }

    /// What peers and functions use: the primary, if it is one of these, else any server, which says that it is none.
    pub(crate) fn serving(&self) -> Option<Arc<Member>> {
        let first = || self.snapshot().0.first().cloned();
        self.local_primary().or_else(first)
    }

    /// A server that was promoted since it was last asked.
    pub(crate) async fn promoted(&self, deadline: Instant) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let mut asked: FuturesUnordered<_> = snapshot
            .0
            .iter()
            .map(|member| async move { (member, member.database.pool().ask(deadline).await) })
            .collect();
        // The first one: others may hang.
        while let Some((member, server)) = asked.next().await {
            if server.is_ok_and(|server| server.role == Role::Primary) {
                return Some(Arc::clone(member));
            }
        }
        None
    }

    /// A server that answers, however far behind, and is known to have everything up to the position.
    pub(crate) fn last_resort(&self, name: Option<&str>, position: Option<Position>) -> Option<Arc<Member>> {
        let snapshot = self.snapshot();
        let candidates = snapshot.0.iter().filter(|member| {
            let is_wanted = name.is_none_or(|name| member.is_called(name));
            let has_reached = position.is_none_or(|position| member.is_known_to_have_reached(position));
            is_wanted && has_reached && member.status.health == Health::TooFarBehind
        });
        candidates.min_by_key(|member| member.status.lag).cloned()
    }

    /// The primary has been heard of at this position.
    pub(crate) fn heard(&self, position: Position) {
        self.inner.newest.lock().unwrap_or_else(PoisonError::into_inner).hear(position, Instant::now());
    }

    /// This server could not answer a read.
    pub(crate) fn suspect(&self, member: &Member) {
        if let Some(messages) = &self.inner.messages {
            // Where the queue is full others have said so already.
            let _ = messages.try_send(Message::Suspect(member.id));
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.snapshot.borrow())
    }
}

/// A set of this database only, which never changes.
impl From<Database> for Replicas {
    fn from(database: Database) -> Self {
        Some(database).into()
    }
}

/// A set of this database only, or an empty one, which never changes.
impl From<Option<Database>> for Replicas {
    fn from(database: Option<Database>) -> Self {
        let members = database.into_iter().map(|database| Arc::new(Member::alone(database)));
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

/// Reads that fail at the same time say the same; a few are enough.
const MESSAGES: usize = 64;
