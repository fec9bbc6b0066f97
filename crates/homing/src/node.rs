use std::sync::Arc;

use homing_postgres::{Databases, Error, Options, Repo, Report, Result};
use homing_rpc::{NodeConfig, Refusals, Registry, Rpc, Server, ServerHandle};
use tracing::{info, warn};

use crate::config::Config;
use crate::config::network::is_local;
use crate::connected::Connected;
use crate::remote::{self, Registered, Shared, Slot};
use crate::state::State;

/// This process: its place among the regions, its database, its server for peers.
///
/// Dropping a node stops it at once and breaks off the calls in flight. [`shutdown`](Self::shutdown) lets them finish.
#[derive(Debug)]
pub struct Node {
    repo: Repo,
    server: Option<ServerHandle>,
}

/// A node that has not started yet; [`Node::from_env`] and [`Node::with_config`] make one.
#[derive(Debug)]
#[must_use = "a node does nothing before it is started"]
pub struct NodeBuilder {
    config: Config,
    registry: Registry,
    slot: Slot,
    state: State,
    observe: Option<Observe>,
    error: Option<Error>,
}

struct Observe(Arc<dyn Fn(&Report) + Send + Sync>);

impl Node {
    /// Prepares a node with the settings of the environment; [`Config`] lists the variables.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if a variable is wrong or missing. The message names the variable.
    pub fn from_env() -> Result<NodeBuilder> {
        Ok(Self::with_config(Config::from_env()?))
    }

    /// Prepares a node with these settings.
    pub fn with_config(config: Config) -> NodeBuilder {
        let (registry, slot, state) = Default::default();
        NodeBuilder { config, registry, slot, state, observe: None, error: None }
    }

    /// Returns a handle to the database, with a session of its own. Clones of the handle share its session.
    pub fn repo(&self) -> Repo {
        self.repo.session()
    }

    /// Returns a handle to one of the databases that [`Config::with_database`] added, with a session of its own.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the node has no database of this name.
    pub fn repo_of(&self, database: &str) -> Result<Repo> {
        self.repo().with_database(database)
    }

    /// Returns the address that this node listens on for its peers; `None` if it does not listen.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(ServerHandle::local_addr)
    }

    /// Returns how many connections the node has refused since its start, for each reason; all zero if it does not listen.
    /// A count that grows is a wrong setting of a node, or a stranger.
    pub fn refusals(&self) -> Refusals {
        self.server.as_ref().map(|server| server.refusals().clone()).unwrap_or_default()
    }

    /// Stops taking calls from peers, waits up to [`Config::drain_timeout`] for the calls in flight, and closes the
    /// connections.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node stops at once.
    pub async fn shutdown(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

impl NodeBuilder {
    /// Offers a function to the callers of all regions. [`start`](Self::start) fails if its name is already taken.
    pub fn register<M, T: Registered<M>>(mut self, _: T) -> Self {
        if let Err(error) = remote::register::<T::Function>(&mut self.registry, &self.slot) {
            self.error.get_or_insert(error.into());
        }
        self
    }

    /// Gives a value to the functions of this node, which get it from [`Context::state`](crate::Context::state) by its type:
    /// a client of another service, a cache, settings. [`start`](Self::start) fails if there are two of one type.
    ///
    /// The value lives as long as the node. It must not hold the node or one of its handles, which would keep each other
    /// alive; functions have [`Context::repo`](crate::Context::repo).
    ///
    /// ```
    /// use homing::{Config, Context, Node};
    ///
    /// struct Mailer;
    ///
    /// #[homing::remote]
    /// async fn invite(context: Context, name: String) -> homing::Result<()> {
    ///     let mailer: &Mailer = context.state()?;
    ///     // ...
    /// #   let _ = (mailer, name);
    ///     Ok(())
    /// }
    ///
    /// let node = Node::with_config(Config::local("postgres://localhost/app")).with_state(Mailer).register(invite);
    /// # let _ = node;
    /// ```
    pub fn with_state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.state.add(value) {
            let message = format!("the node has two states of type {}: wrap one of them", std::any::type_name::<T>());
            self.error.get_or_insert(Error::configuration(message));
        }
        self
    }

    /// Sets the options of the node's handles ([`Node::repo`]).
    pub fn with_options(mut self, options: Options) -> Self {
        self.config.options = options;
        self
    }

    /// Calls `observe` after each call of the node's handles; see [`Repo::with_observer`].
    pub fn with_observer(mut self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.observe = Some(Observe(Arc::new(observe)));
        self
    }

    /// Connects to the databases, asks each for its role, and starts to serve peers. Outside the primary region it also
    /// begins to connect to the peers there, and does not wait for them.
    ///
    /// Settings say where to look, and each database says what it is. Beside a demoted primary, or without a primary that
    /// answers, the node starts with a warning and serves what it can; beside a promoted replica it takes writes.
    /// [`Replicas::missing_primary`](crate::replicas::Replicas::missing_primary) tells what is missing.
    ///
    /// # Errors
    ///
    /// - [`is_configuration`](Error::is_configuration) if settings cannot work, alone or together (the message names them), the
    ///   primary region has no connection string, a connection string is not valid, or PostgreSQL refuses the password or the
    ///   name of the primary's database.
    /// - [`is_misuse`](Error::is_misuse) if two functions have the same name, the name of a database is not allowed, or the
    ///   node cannot listen on its address.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything that it started stops.
    pub async fn start(self) -> Result<Node> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let config = self.config;
        config.check()?;
        let connected = Box::pin(Connected::connect(&config)).await?;
        let databases = offered(&config, connected.databases()?);
        databases.check_forwarded_login().await?;
        let node = node_config(&config, self.registry, &databases);
        let rpc = Rpc::new(node.clone(), Arc::clone(&config.discover));
        // So that the first write does not wait for a look-up, a connection and a greeting.
        rpc.connect(config.topology.primary_region())?;
        let server = serve(&config, node, &databases).await?;
        let mut repo = connected.repo(rpc, config.options)?;
        if let Some(key) = config.token_key {
            repo = repo.with_token_key(key);
        }
        if let Some(Observe(observe)) = self.observe {
            repo = repo.with_observer(move |report| observe(report));
        }
        self.slot.set(Shared { repo: repo.downgrade(), state: self.state }).expect("a builder starts one node");
        info!(
            region = %config.topology.region(),
            primary_region = %config.topology.primary_region(),
            listen = server.as_ref().map(|server| tracing::field::display(server.local_addr())),
            "node started"
        );
        Ok(Node { repo, server })
    }
}

impl std::fmt::Debug for Observe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observe")
    }
}

/// Returns the databases with what peers may do in them.
fn offered(config: &Config, mut databases: Databases) -> Databases {
    if config.functions_only {
        databases = databases.with_functions_only();
    }
    match &config.forwarded_login {
        Some(login) => databases.with_forwarded_login(login.clone()),
        None => databases,
    }
}

/// What the node's client and its server have in common.
fn node_config(config: &Config, registry: Registry, databases: &Databases) -> NodeConfig {
    let mut node = NodeConfig::new(config.topology.clone()).with_functions(Arc::new(registry)).with_peers(config.peers);
    node = node.with_max_message_bytes(config.max_message_bytes);
    if let Some(secret) = &config.secret {
        node = node.with_secret(secret.clone());
    }
    if let Some(tls) = &config.tls {
        node = node.with_tls(tls.clone());
    }
    if !databases.is_empty() {
        node = node.with_positions(Arc::new(databases.clone())).with_states(Arc::new(databases.clone()));
    }
    node
}

async fn serve(config: &Config, node: NodeConfig, databases: &Databases) -> Result<Option<ServerHandle>> {
    let Some(listen) = config.listen else {
        return Ok(None);
    };
    let has_proof = config.secret.is_some() || config.tls.is_some();
    if !has_proof && listen.ip().is_loopback() && !is_local(&config.topology) {
        let advice = "set it to the same text on all nodes, so that nodes on other machines can call this one";
        warn!(variable = "HOMING_SECRET", %listen, advice, "without a secret the node serves its own machine only");
    }
    let server = Server::builder(node).listen(listen);
    let server = server.max_in_flight(config.max_in_flight).max_connections(config.max_peer_connections);
    let mut server = server.drain_timeout(config.drain_timeout);
    if !databases.is_empty() {
        server = server.service(databases.service(config.max_message_bytes));
    }
    Ok(Some(server.start().await?))
}
