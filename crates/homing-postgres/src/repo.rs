//! [`Repo`], the handle of an application.

mod aggregates;
mod batch;
#[cfg(feature = "sea-query")]
mod built;
mod bulk;
mod changes;
mod copy;
mod entities;
mod functions;
pub(crate) mod measure;
mod outcome;
mod raw;
mod scoped;
mod stream;
mod token;
pub(crate) mod transaction;
mod typed;
mod upsert;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_rpc::{Region, Rpc, Secret};
use tokio::time::Instant;

use crate::call::options::{Consistency, Delivery, OnLag, Options, Wait};
use crate::call::report::{Observer, Report};
use crate::call::tally::Tally;
use crate::database::Database;
use crate::engine::{Engine, ScopedDatabase};
use crate::error::Result;
use crate::primary::Primary;
use crate::replicas::{Choose, Replicas};
use crate::scope::{DatabaseName, Scope};
use crate::session::Session;
use crate::transaction::Handle;

/// A handle for the database. The local replica answers reads, the primary runs writes, in whichever region the code
/// runs.
///
/// It is cheap to clone. Clones share a *session*: a read through one of them sees every write that returned `Ok`
/// through any of them, and is never older than an earlier read. If the replica is too far behind for that, the primary
/// answers the read. [`session`](Self::session) begins a new session, [`token`](Self::token) takes a session to another
/// node, and [`Consistency`] asks for more or for less.
///
/// # Errors
///
/// A failed write has exactly one of [four fates](crate::Error): it was *not sent*, it was *rejected*, it is
/// *committed*, or its *outcome is unknown*. A failed read changed nothing.
///
/// # Cancel safety
///
/// A dropped read has no effect. A dropped write is cancelled on the primary unless it is committed already, and the
/// caller does not learn which of the two happened.
#[derive(Clone, Debug)]
pub struct Repo {
    engine: Engine,
    catalog: Arc<Catalog>,
    /// The transaction that the handle's calls belong to.
    transaction: Option<Handle>,
    /// The key of tokens, if they have one of their own.
    token_key: Option<Secret>,
}

/// A [`Repo`] that does not keep its node's connections open. It is meant for parts of the node itself, such as the
/// functions that it registers.
#[derive(Clone, Debug)]
pub struct WeakRepo {
    catalog: Weak<Catalog>,
    scope: Scope,
    options: Options,
    observer: Observer,
    token_key: Option<Secret>,
}

/// The databases of the node, each in its default schema.
type Catalog = BTreeMap<DatabaseName, Arc<ScopedDatabase>>;

impl Repo {
    /// Makes a handle from the databases that this node reads from and the way to the primary region.
    ///
    /// The databases are [`Replicas`], a single [`Database`], or `None` in a region without a replica.
    pub fn new(rpc: Rpc, replicas: impl Into<Replicas>, options: Options) -> Self {
        let scoped = Arc::new(ScopedDatabase::new(Primary::new(rpc, replicas.into(), Scope::default())));
        let catalog = Arc::new(Catalog::from([(DatabaseName::default(), Arc::clone(&scoped))]));
        let (session, observer) = (Session::default(), Observer::default());
        let engine = Engine { scoped, session, options, key: None, replica: None, observer, until: None, tally: None };
        Self { engine, catalog, transaction: None, token_key: None }
    }

    /// Returns the region of this node.
    pub fn region(&self) -> &Region {
        self.rpc_client().topology().region()
    }

    /// Returns the primary region of the settings. Writes are forwarded there, as long as the primary is there.
    pub fn primary_region(&self) -> &Region {
        self.rpc_client().topology().primary_region()
    }

    /// Returns the region in which the primary of this handle's database is, as far as this node knows. It differs from
    /// [`primary_region`](Self::primary_region) after a failover to another region, once a call of this node has missed the
    /// primary.
    pub fn current_primary_region(&self) -> Region {
        self.engine.primary().region()
    }

    /// Returns the client that calls functions in any region.
    pub fn rpc_client(&self) -> &Rpc {
        self.engine.rpc()
    }

    /// Returns the database that reads go to by default, or `None` if this node has no usable replica.
    pub fn database(&self) -> Option<Database> {
        self.engine.primary().database()
    }

    /// Returns the databases that this node reads from.
    pub fn replicas(&self) -> &Replicas {
        self.engine.replicas()
    }

    /// Returns a handle that reads from the replica with this name, however far behind it is, in the primary region too.
    ///
    /// Its reads still see what its session has seen; [`session`](Self::session) begins a session that has seen
    /// nothing. If the replica's entry in the list stands for several servers, reads go to one of them. Writes go to
    /// the primary and wait for that replica.
    ///
    /// While the replica does not answer, [`OnLag`] decides whether the primary answers or the read fails.
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
    /// [`is_misuse`](crate::Error::is_misuse) if no replica has that name; the message lists the names. If the name is
    /// removed from the list later, the next read fails with this error.
    pub fn replica(&self, name: &str) -> Result<Self> {
        self.replicas().check_name(name)?;
        Ok(self.with(|engine| engine.replica = Some(name.into())))
    }

    /// Returns the options of this handle.
    pub fn options(&self) -> Options {
        self.engine.options
    }

    /// Returns a handle with these options.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        self.with(|engine| engine.options = options)
    }

    /// Returns a handle whose reads see what `consistency` says.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        self.with(|engine| engine.options.consistency = consistency)
    }

    /// Returns a handle whose writes wait for the local replica when `wait` says.
    #[must_use]
    pub fn with_wait(&self, wait: Wait) -> Self {
        self.with(|engine| engine.options.wait = wait)
    }

    /// Returns a handle whose writes are applied as often as `delivery` says, if something fails under them.
    #[must_use]
    pub fn with_delivery(&self, delivery: Delivery) -> Self {
        self.with(|engine| engine.options.delivery = delivery)
    }

    /// Returns a handle whose calls have to be executed within `call_timeout`.
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Duration) -> Self {
        self.with(|engine| engine.options.call_timeout = call_timeout)
    }

    /// Returns a handle whose writes and reads wait up to `replay_timeout` for the local replica.
    #[must_use]
    pub fn with_replay_timeout(&self, replay_timeout: Duration) -> Self {
        self.with(|engine| engine.options.replay_timeout = replay_timeout)
    }

    /// Returns a handle that does what `on_lag` says if the local replica lags.
    #[must_use]
    pub fn with_on_lag(&self, on_lag: OnLag) -> Self {
        self.with(|engine| engine.options.on_lag = on_lag)
    }

    /// Returns a handle that chooses among several replicas by this rule.
    #[must_use]
    pub fn with_choose(&self, choose: Choose) -> Self {
        self.with(|engine| engine.options.choose = choose)
    }

    /// Returns a handle that reports its calls to `observe`, failed calls included, and to no other observer.
    ///
    /// `observe` runs in the task of the call, right before the call returns, and must not block.
    #[must_use]
    pub fn with_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.with(|engine| engine.observer = Observer::new(observe))
    }

    /// Returns a handle that reports its calls to `observe` as well, after the observers that it has already.
    ///
    /// `observe` must not block.
    #[must_use]
    pub fn with_added_observer(&self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.with(|engine| engine.observer = engine.observer.and(observe))
    }

    /// Returns a handle with a new session: its reads do not wait for writes through this handle or its clones.
    #[must_use]
    pub fn session(&self) -> Self {
        self.with(|engine| engine.session = engine.session.renewed())
    }

    /// Returns a handle that does not keep the connections open and does not belong to a transaction.
    pub fn downgrade(&self) -> WeakRepo {
        WeakRepo {
            catalog: Arc::downgrade(&self.catalog),
            scope: self.engine.primary().scope().clone(),
            options: self.engine.options,
            observer: self.engine.observer.clone(),
            token_key: self.token_key.clone(),
        }
    }

    /// Returns a handle for a named function that has to end at `until`, and the tally of its calls. They may take all the
    /// time that is left.
    #[doc(hidden)]
    #[must_use]
    pub fn for_function(&self, until: Instant) -> (Self, Arc<Tally>) {
        let tally = Arc::new(Tally::default());
        let repo = self.with(|engine| {
            engine.options.call_timeout = until.saturating_duration_since(Instant::now());
            engine.until = Some(until);
            engine.tally = Some(Arc::clone(&tally));
        });
        (repo, tally)
    }

    fn with(&self, change: impl FnOnce(&mut Engine)) -> Self {
        let mut repo = self.clone();
        change(&mut repo.engine);
        repo
    }
}

impl WeakRepo {
    /// Returns a handle with a session of its own, or `None` if the node has shut down.
    pub fn upgrade(&self) -> Option<Repo> {
        let catalog = self.catalog.upgrade()?;
        let scoped = catalog.get(&self.scope.database)?.with_local(&self.scope.local);
        let session = Session::default().of(&self.scope.database);
        let (options, observer) = (self.options, self.observer.clone());
        let engine = Engine { scoped, session, options, key: None, replica: None, observer, until: None, tally: None };
        Some(Repo { engine, catalog, transaction: None, token_key: self.token_key.clone() })
    }
}
