//! [`Replicas`], the servers that a node reads from, and the choice of one of them for a read.
//!
//! A *replica set* has *entries*, the connection strings of its list, and *members*, the servers that these lead to. A
//! member that is down or too far behind is *left out*: reads do not go to it. The set is *in use* if reads were made
//! lately.

mod choice;
mod cluster;
mod entry;
mod lag;
mod list;
mod member;
mod resolve;
mod search;
mod settings;
mod status;
mod task;
mod usage;
mod watched;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use self::choice::{Candidate, Preference};
use self::entry::ListEntry;
use self::lag::Newest;
use self::member::{Origin, Snapshot};
use self::resolve::Resolver;
use self::search::Seekers;
use self::task::{Message, TaskParts};
use self::usage::Usage;
use self::watched::Watched;
use crate::connection::identity::Fault;
use crate::connection::session_attrs::Admission;
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
/// back by itself. The task ends when the last handle is dropped.
///
/// A probe is one query. It is sent to each replica after a read, to whichever server the read went, and at most once in
/// [`probe_interval`](field@ReplicaSettings::probe_interval). So ten seconds of reads take 20 probes of each replica, and
/// without reads there are none. The primary next to this node is not probed.
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
    /// `None` for a fixed set, which has no task.
    links: Option<TaskLinks>,
    /// Keeps the channel of a fixed set open.
    _publish: Option<watch::Sender<Arc<Snapshot>>>,
    task: Option<JoinHandle<()>>,
}

/// The links to the task.
struct TaskLinks {
    /// The task ends when this is dropped.
    messages: mpsc::Sender<Message>,
    seekers: Arc<Seekers>,
    /// The setting of the primary's connection string, if this node should be next to the primary.
    variable: Option<String>,
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
    /// `primary` says where the primary next to this node is, if there is one. It may list several hosts, and a host name
    /// may stand for several servers: the one that says that it is the primary takes the writes. If that server does not
    /// answer, or becomes a replica, all of them are asked again, and the names are resolved again. The others answer reads
    /// as replicas do. If none is the primary, the node starts with a warning, and looks for one while calls need it.
    ///
    /// `target_session_attrs` in a connection string says which of its servers answer reads, with libpq's values and
    /// meanings. Writes go to the primary in any case. Which replica answers a read is decided by [`Choose`]; the driver's
    /// `load_balance_hosts` has no effect.
    ///
    /// A replica that does not answer, or whose name cannot be resolved, is logged and does not affect the others. If
    /// no replica answers, the primary answers the reads. A replica whose region is that of this node, and that is a
    /// primary, takes this node's writes.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](crate::Error::is_configuration) if the connection string of the primary is not valid, if
    /// PostgreSQL refuses its password or the name of its database, if it leads through
    /// [a pooler or a load balancer](crate::Config#poolers-and-load-balancers) that cannot be used, or if the system's DNS
    /// settings cannot be read.
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
        let (publish, snapshot) = watch::channel(Arc::default());
        let (sender, messages) = mpsc::channel(MAX_MESSAGES);
        let (ready, is_ready) = oneshot::channel();
        let usage = Arc::new(Usage::default());
        let newest = Arc::new(Mutex::new(Newest::new(settings.max_lag.unwrap_or_default())));
        let variable = primary.as_ref().map(|config| config.variable.clone());
        let seekers = Arc::new(Seekers::new(primary.is_some()));
        let parts = TaskParts {
            list: list.subscribe(),
            file: list.may_change_by_itself().then(|| list.clone()),
            settings,
            resolver: Arc::new(resolver),
            publish,
            messages,
            usage: Arc::clone(&usage),
            newest: Arc::clone(&newest),
            seekers: Arc::clone(&seekers),
            ready: Some(ready),
        };
        let primary = primary.map(|config| ListEntry::primary(config, Instant::now())).transpose()?;
        let task = tokio::spawn(task::run(parts, primary));
        let links = TaskLinks { messages: sender, seekers, variable };
        let inner = ReplicaSet { snapshot, usage, newest, links: Some(links), _publish: None, task: Some(task) };
        let replicas = Self { inner: Arc::new(inner) };
        // Name resolution and connections have time limits of their own.
        is_ready.await.unwrap_or(Ok(()))?;
        if let Some(missing) = replicas.missing_primary() {
            warn!(missing, "the node starts without a primary next to it, and looks for one while calls need it");
        }
        Ok(replicas)
    }

    /// Returns what is missing, as text for people, if this node should be next to the primary, and none of its servers
    /// said when it was last asked that it is the primary. Sends no query.
    pub fn missing_primary(&self) -> Option<String> {
        let variable = self.inner.links.as_ref()?.variable.as_ref()?;
        let snapshot = self.snapshot();
        if snapshot.has_primary() {
            return None;
        }
        let servers = snapshot.0.iter().filter(|member| member.origin == Origin::OwnPrimary);
        let servers = servers.map(|member| match member.database.role() {
            Some(Role::Replica) => format!("{} is a replica", member.status.address),
            _ => match (member.database.pool().known().last_fault(), member.database.pool().known().complaint()) {
                (Some(fault), _) => format!("{} cannot be used: {fault}", member.status.address),
                (None, Some(complaint)) => format!("{} cannot be reached: {complaint}", member.status.address),
                (None, None) => format!("{} does not answer", member.status.address),
            },
        });
        let servers: Vec<_> = servers.collect();
        let servers = if servers.is_empty() { "its host has no address".into() } else { servers.join(", ") };
        Some(format!(
            "no server in {variable} is the primary ({servers}): check that PostgreSQL runs there, or set {variable} to \
             servers among which the primary is, and HOMING_PRIMARY_REGION to its region"
        ))
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
        if self.is_missing_primary(&snapshot) {
            self.seek();
        }
        let may_answer =
            |member: &&Arc<Member>| !request.except.contains(&member.id) && member.admission() != Admission::No;
        let members: Vec<_> = members.into_iter().filter(may_answer).collect();
        let primary = snapshot.local_primary().map(|member| member.id);
        let candidate = |member: &&Arc<Member>| Candidate::of(member, primary == Some(member.id), request.position);
        let candidates: Vec<_> = members.iter().map(candidate).collect();
        let preference = match (request.name, request.is_behind) {
            (Some(_), _) => Preference::ByHand(request.choose),
            (None, true) => Preference::Reached(request.choose),
            (None, false) => Preference::Usable(request.choose),
        };
        Ok(choice::choose(&candidates, preference, &mut rand::rng()).map(|index| Arc::clone(members[index])))
    }

    /// Returns the replicas that answered last time, and that are one server each.
    pub(crate) fn answering_replicas(&self) -> Vec<Arc<Member>> {
        let is_asked =
            |member: &&Arc<Member>| member.answers() && !member.is_primary() && !member.database().is_spread();
        self.snapshot().0.iter().filter(is_asked).cloned().collect()
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

    /// Returns why the replica of this name could not be used lately.
    pub(crate) fn last_fault(&self, name: &str) -> Option<Fault> {
        let snapshot = self.snapshot();
        let mut members = snapshot.0.iter().filter(|member| member.is_called(name));
        members.find_map(|member| member.database.pool().known().last_fault())
    }

    /// Returns the primary if it is next to this node.
    pub(crate) fn local_primary(&self) -> Option<Arc<Member>> {
        self.snapshot().local_primary().cloned()
    }

    /// Returns the server for peers and functions: the primary if it is one of these, otherwise any server, which will
    /// answer that it is a replica.
    pub(crate) fn serving(&self) -> Option<Arc<Member>> {
        let first = || self.snapshot().0.first().cloned();
        self.local_primary().or_else(first)
    }

    /// Returns a server that says, asked from now on, that it is the primary. The first answer counts, because other
    /// servers may hang. All calls share the same questions.
    ///
    /// If this node should be next to the primary, waits for one until `until`, or until none has answered for as long.
    /// Otherwise returns `None` as soon as the servers have answered.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: without callers the search ends.
    pub(crate) async fn find_primary(&self, until: Instant) -> Option<Arc<Member>> {
        let Some(TaskLinks { seekers, .. }) = &self.inner.links else {
            return self.ask_fixed_set(until).await;
        };
        let began = Instant::now();
        let _seeker = seekers.seek();
        let mut progress = seekers.progress();
        let first = progress.borrow().begun;
        loop {
            let seen = *progress.borrow_and_update();
            if let Some(member) = self.primary_heard_since(began) {
                return Some(member);
            }
            let mut until = until;
            if seekers.has_failed(&seen, first, began) {
                let patience = until.saturating_duration_since(began);
                let since = seen.missing_since.filter(|_| seekers.expect_primary)?;
                until = until.min(since + patience);
            }
            timeout_at(until, progress.changed()).await.ok()?.ok()?;
        }
    }

    /// Returns a primary that answered after `began`.
    fn primary_heard_since(&self, began: Instant) -> Option<Arc<Member>> {
        let is_current = |member: &&Arc<Member>| {
            let heard_at = member.database.pool().known().report().heard_at;
            member.is_primary() && heard_at.is_some_and(|at| at >= began)
        };
        let snapshot = self.snapshot();
        snapshot.local_primary().filter(is_current).or_else(|| snapshot.0.iter().find(is_current)).cloned()
    }

    /// Asks the server of a fixed set whether it was promoted.
    async fn ask_fixed_set(&self, until: Instant) -> Option<Arc<Member>> {
        let member = self.snapshot().0.first().cloned()?;
        let server = member.database.pool().ask(until).await;
        server.is_ok_and(|server| server.role == Role::Primary).then_some(member)
    }

    /// Starts to look for the primary, without waiting for it.
    fn seek(&self) {
        if let Some(links) = &self.inner.links {
            links.seekers.alarm.notify_one();
        }
    }

    /// Returns whether this node should be next to the primary, and none of its servers is.
    fn is_missing_primary(&self, snapshot: &Snapshot) -> bool {
        self.expects_primary() && !snapshot.has_primary()
    }

    /// Returns whether this node should be next to the primary.
    pub(crate) fn expects_primary(&self) -> bool {
        self.inner.links.as_ref().is_some_and(|links| links.seekers.expect_primary)
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
        if let Some(links) = &self.inner.links {
            // If the queue is full, other reads have already sent the same.
            let _ = links.messages.try_send(Message::Suspect(member.id));
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
                usage: Arc::default(),
                newest: Arc::new(Mutex::new(Newest::new(std::time::Duration::ZERO))),
                links: None,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homing_testbed::Postgres;
    use tokio::time::timeout;

    use super::*;
    use crate::testing::PanicOnce;

    #[tokio::test]
    async fn panic_does_not_end_the_task() {
        let primary = Postgres::options().start().await.unwrap();
        let replica = Postgres::options().start_replica_of(&primary).await.unwrap();
        let list = ReplicaList::parse(&replica.url(), "V").unwrap();
        let _bug = PanicOnce::at("connected to a replica");
        let replicas = Replicas::start(None, &list, ReplicaSettings::default()).await.unwrap();
        let is_back = |status: &[ReplicaStatus]| matches!(status, [only] if only.lag.is_some());
        timeout(Duration::from_secs(30), replicas.wait_for(is_back)).await.expect("the task is there");
    }
}
