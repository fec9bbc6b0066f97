//! [`Repo`], the handle of an application.

mod aggregates;
mod batch;
#[cfg(feature = "sea-query")]
mod built;
mod bulk;
mod entities;
mod functions;
pub(crate) mod measure;
mod raw;
mod scoped;
mod stream;
mod token;
mod transaction;
mod upsert;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_rpc::{Region, Rpc};

use crate::call::options::{Consistency, OnLag, Options, Wait};
use crate::call::report::{Observer, Report};
use crate::database::Database;
use crate::engine::{Engine, ScopedDatabase};
use crate::error::Result;
use crate::primary::Primary;
use crate::replicas::{Choose, Replicas};
use crate::scope::{DatabaseName, Scope};
use crate::session::Session;
use crate::transaction::Handle;

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
    engine: Engine,
    catalog: Arc<Catalog>,
    /// The transaction that the calls belong to.
    transaction: Option<Handle>,
}

/// A [`Repo`] that does not keep its node's connections open. For what the node itself holds, such as its functions.
#[derive(Clone, Debug)]
pub struct WeakRepo {
    catalog: Weak<Catalog>,
    scope: Scope,
    options: Options,
    observer: Observer,
}

/// The databases of the node, each in its default schema.
type Catalog = BTreeMap<DatabaseName, Arc<ScopedDatabase>>;

impl Repo {
    /// A handle for the databases here, [`Replicas`] or a single [`Database`] or none, and the way to the primary region.
    pub fn new(rpc: Rpc, replicas: impl Into<Replicas>, options: Options) -> Self {
        let scoped = Arc::new(ScopedDatabase::new(Primary::new(rpc, replicas.into(), Scope::default())));
        let catalog = Arc::new(Catalog::from([(DatabaseName::default(), Arc::clone(&scoped))]));
        let engine =
            Engine { scoped, session: Session::default(), options, replica: None, observer: Observer::default() };
        Self { engine, catalog, transaction: None }
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
        self.engine.rpc()
    }

    /// The database that reads go to where nothing else is said; `None` where the region has no replica that can be
    /// used.
    pub fn database(&self) -> Option<Database> {
        self.engine.primary().database()
    }

    /// The databases that this node reads from.
    pub fn replicas(&self) -> &Replicas {
        self.engine.replicas()
    }

    /// The same handle, whose reads go to the replica of this name, however far behind it is: but not to less than its
    /// session has seen; [`session`](Self::session) begins one that has seen nothing. Where its entry in the
    /// list stands for several servers, to one of them. Writes go home as ever, and are waited for on that replica.
    ///
    /// While it does not answer, [`OnLag`] decides: the primary answers, or the read fails.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// let ord = repo.replica("ord")?;
    /// let rows = ord.query("select count(*) from users", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Misuse, if there is none of that name; the message lists those that there are. A name that is taken out of the
    /// list later is told by the next read.
    pub fn replica(&self, name: &str) -> Result<Self> {
        self.replicas().check_name(name)?;
        Ok(self.with(|engine| engine.replica = Some(name.into())))
    }

    /// The options of this handle.
    pub fn options(&self) -> Options {
        self.engine.options
    }

    /// The same handle with other options.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        self.with(|engine| engine.options = options)
    }

    /// The same handle with another idea of what its reads have to see.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        self.with(|engine| engine.options.consistency = consistency)
    }

    /// The same handle with another time to wait for the replica here.
    #[must_use]
    pub fn with_wait(&self, wait: Wait) -> Self {
        self.with(|engine| engine.options.wait = wait)
    }

    /// The same handle with another limit for a call until it is executed.
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Duration) -> Self {
        self.with(|engine| engine.options.call_timeout = call_timeout)
    }

    /// The same handle with another limit for the replica here to replay a write.
    #[must_use]
    pub fn with_replay_timeout(&self, replay_timeout: Duration) -> Self {
        self.with(|engine| engine.options.replay_timeout = replay_timeout)
    }

    /// The same handle with another behaviour when the replica here lags.
    #[must_use]
    pub fn with_on_lag(&self, on_lag: OnLag) -> Self {
        self.with(|engine| engine.options.on_lag = on_lag)
    }

    /// The same handle with another rule for which of several replicas a read goes to.
    #[must_use]
    pub fn with_choose(&self, choose: Choose) -> Self {
        self.with(|engine| engine.options.choose = choose)
    }

    /// The same handle, which reports its calls to `observe`, those that failed included. It is called in the task of the
    /// call, right before the call returns, and must not block.
    #[must_use]
    pub fn with_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.with(|engine| engine.observer = Observer::new(observe))
    }

    /// The same handle, which reports its calls to `observe` too, after those it reports to already. It must not block
    /// either.
    #[must_use]
    pub fn with_added_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.with(|engine| engine.observer = engine.observer.and(observe))
    }

    /// A handle with a session of its own: its reads do not wait for what others write.
    #[must_use]
    pub fn session(&self) -> Self {
        self.with(|engine| engine.session = engine.session.renewed())
    }

    /// A handle that does not keep the connections open, and belongs to no transaction.
    pub fn downgrade(&self) -> WeakRepo {
        WeakRepo {
            catalog: Arc::downgrade(&self.catalog),
            scope: self.engine.primary().scope().clone(),
            options: self.engine.options,
            observer: self.engine.observer.clone(),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Engine)) -> Self {
        let mut repo = self.clone();
        change(&mut repo.engine);
        repo
    }
}

impl WeakRepo {
    /// The handle, with a session of its own. `None` once the node is gone.
    pub fn upgrade(&self) -> Option<Repo> {
        let catalog = self.catalog.upgrade()?;
        let scoped = catalog.get(&self.scope.database)?.in_schema(self.scope.schema.as_ref());
        let session = Session::default().of(&self.scope.database);
        let engine = Engine { scoped, session, options: self.options, replica: None, observer: self.observer.clone() };
        Some(Repo { engine, catalog, transaction: None })
    }
}
