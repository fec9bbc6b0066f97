//! [`Repo`], the handle of an application.

mod entities;
mod functions;
mod raw;
mod read;
mod scoped;
mod statement;
mod token;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_rpc::{Region, Rpc};

use crate::home::Home;
use crate::report::Observer;
use crate::scope::{DatabaseName, Scope};
use crate::session::Session;
use crate::shape::ShapeCache;
use crate::{Consistency, Database, OnLag, Options, Report, Wait};

/// The database, wherever this code runs: reads are answered by the replica here, writes by the primary.
///
/// Cheap to clone. Clones share a *session*: every read through one of them sees every write that returned `Ok` through
/// any of them, or is answered by the primary, and is never older than an earlier read. [`session`](Self::session)
/// begins a new one; [`token`](Self::token) takes it to another node. [`Consistency`] is what may be changed about that.
///
/// # Cancel safety
///
/// Unless a method says otherwise: a dropped read has no effect. A dropped write is cancelled on the primary if it is
/// not committed yet; whether it was, nobody is told.
#[derive(Clone, Debug)]
pub struct Repo {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    session: Session,
    options: Options,
    observer: Observer,
}

/// A [`Repo`] that does not keep its node's connections open. For what the node itself holds, such as its functions.
#[derive(Clone, Debug)]
pub struct WeakRepo {
    catalog: Weak<Catalog>,
    scope: Scope,
    options: Options,
    observer: Observer,
}

/// One database, in one schema.
#[derive(Debug)]
struct Shared {
    home: Home,
    shapes: ShapeCache,
}

/// The databases of the node, each in its default schema.
type Catalog = BTreeMap<DatabaseName, Arc<Shared>>;

impl Repo {
    /// A handle for the database here, which may be absent, and the way to the primary region.
    pub fn new(rpc: Rpc, database: Option<Database>, options: Options) -> Self {
        let home = Home::new(rpc, database);
        let shared = Arc::new(Shared { home, shapes: ShapeCache::new() });
        Self {
            catalog: Arc::new(Catalog::from([(DatabaseName::default(), Arc::clone(&shared))])),
            shared,
            session: Session::default(),
            options,
            observer: Observer::default(),
        }
    }

    /// The region of this node.
    pub fn region(&self) -> &Region {
        self.rpc_client().topology().region()
    }

    /// The region to which writes are forwarded.
    pub fn primary_region(&self) -> &Region {
        self.rpc_client().topology().primary_region()
    }

    /// Calls to functions in any region.
    pub fn rpc_client(&self) -> &Rpc {
        self.shared.home.rpc()
    }

    /// The database here; `None` where the region has no replica.
    pub fn database(&self) -> Option<&Database> {
        self.shared.home.database()
    }

    /// The options of this handle.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The same handle with other options.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self { options, ..self.clone() }
    }

    /// The same handle with another idea of what its reads have to see.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        self.with_options(Options { consistency, ..self.options })
    }

    /// The same handle with another time to wait for the replica here.
    #[must_use]
    pub fn with_wait(&self, wait: Wait) -> Self {
        self.with_options(Options { wait, ..self.options })
    }

    /// The same handle with another limit for a call until it is executed.
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Duration) -> Self {
        self.with_options(Options { call_timeout, ..self.options })
    }

    /// The same handle with another limit for the replica here to replay a write.
    #[must_use]
    pub fn with_replay_timeout(&self, replay_timeout: Duration) -> Self {
        self.with_options(Options { replay_timeout, ..self.options })
    }

    /// The same handle with another behaviour when the replica here lags.
    #[must_use]
    pub fn with_on_lag(&self, on_lag: OnLag) -> Self {
        self.with_options(Options { on_lag, ..self.options })
    }

    /// The same handle, which reports its calls to `observe`. It is called in the task of the call, right before the
    /// call returns, and must not block.
    #[must_use]
    pub fn with_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self { observer: Observer::new(observe), ..self.clone() }
    }

    /// The same handle, which reports its calls to `observe` too, after those it reports to already. It must not block
    /// either.
    #[must_use]
    pub fn with_added_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self { observer: self.observer.and(observe), ..self.clone() }
    }

    /// A handle with a session of its own: its reads do not wait for what others write.
    #[must_use]
    pub fn session(&self) -> Self {
        Self { session: self.session.renewed(), ..self.clone() }
    }

    /// A handle that does not keep the connections open.
    pub fn downgrade(&self) -> WeakRepo {
        WeakRepo {
            catalog: Arc::downgrade(&self.catalog),
            scope: self.home().scope().clone(),
            options: self.options,
            observer: self.observer.clone(),
        }
    }

    fn home(&self) -> &Home {
        &self.shared.home
    }

    fn shapes(&self) -> &ShapeCache {
        &self.shared.shapes
    }
}

impl WeakRepo {
    /// The handle, with a session of its own. `None` once the node is gone.
    pub fn upgrade(&self) -> Option<Repo> {
        let catalog = self.catalog.upgrade()?;
        let shared = catalog.get(&self.scope.database)?.in_schema(self.scope.schema.as_ref());
        Some(Repo {
            shared,
            catalog,
            session: Session::default().of(&self.scope.database),
            options: self.options,
            observer: self.observer.clone(),
        })
    }
}
