use std::sync::Arc;

use homing_postgres::{Databases, Error, Options, Repo, Report, Result};
use homing_rpc::{NodeConfig, Registry, Rpc, Server, ServerHandle};
use tracing::info;

use crate::connected::Connected;
use crate::remote::{self, Slot};
use crate::{Config, Remote};

/// This process: its place among the regions, its database, its server for peers.
///
/// Dropped, it stops serving at once; [`shutdown`](Self::shutdown) lets calls that are under way finish.
#[derive(Debug)]
pub struct Node {
    repo: Repo,
    server: Option<ServerHandle>,
}

/// A node that has not started yet.
#[derive(Debug)]
#[must_use = "a node does nothing before it is started"]
pub struct Builder {
    config: Config,
    registry: Registry,
    slot: Slot,
    observed: Option<Observe>,
    refused: Option<Error>,
}

struct Observe(Arc<dyn Fn(&Report) + Send + Sync>);

impl Node {
    /// A node with the settings of the environment; see [`Config`].
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration), naming the variable that is wrong or missing.
    pub fn from_env() -> Result<Builder> {
        Ok(Self::with_config(Config::from_env()?))
    }

    /// A node with these settings.
    pub fn with_config(config: Config) -> Builder {
        Builder { config, registry: Registry::new(), slot: Slot::default(), observed: None, refused: None }
    }

    /// The handle to the database. Each call returns one with a session of its own; clones share it.
    pub fn repo(&self) -> Repo {
        self.repo.session()
    }

    /// The handle to one of the node's named databases; see [`Config::with_database`]. The same as
    /// [`Repo::with_database`] on [`repo`](Self::repo).
    ///
    /// # Errors
    ///
    /// Misuse: the node has no database of that name.
    pub fn repo_of(&self, database: &str) -> Result<Repo> {
        self.repo().with_database(database)
    }

    /// Where peers reach this node; `None` if it serves nobody.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(ServerHandle::local_addr)
    }

    /// Stops taking calls from peers, waits for those under way within a limit, and closes the connections.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops at once.
    pub async fn shutdown(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

impl Builder {
    /// Offers a function to all regions. A name that is taken is reported by [`start`](Self::start).
    pub fn register<T: Remote>(mut self, _: T) -> Self {
        if let Err(error) = remote::register::<T>(&mut self.registry, &self.slot) {
            self.refused.get_or_insert(error.into());
        }
        self
    }

    /// How the node's [`Repo`] makes its calls.
    pub fn with_options(mut self, options: Options) -> Self {
        self.config.options = options;
        self
    }

    /// Reports each call of the node's [`Repo`]; see [`Repo::with_observer`].
    pub fn with_observer(mut self, observe: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.observed = Some(Observe(Arc::new(observe)));
        self
    }

    /// Connects to the database, asks it what it is, and begins to serve peers.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) or misuse: no database where there has to be one, a primary where
    /// a replica is expected or the reverse, two functions of one name, an address that cannot be served.
    ///
    /// # Cancel safety
    ///
    /// What was started is stopped.
    pub async fn start(self) -> Result<Node> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let config = self.config;
        let connected = Box::pin(Connected::connect(&config)).await?;
        let databases = connected.databases()?;
        let node = node_config(&config, self.registry, &databases);
        let rpc = Rpc::new(node.clone(), Arc::clone(&config.discover));
        let server = serve(&config, node, &databases).await?;
        let mut repo = connected.repo(rpc, config.options)?;
        if let Some(Observe(observe)) = self.observed {
            repo = repo.with_observer(move |report| observe(report));
        }
        self.slot.set(repo.downgrade()).expect("a builder starts one node");
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

/// What the node's client and its server have in common.
fn node_config(config: &Config, registry: Registry, databases: &Databases) -> NodeConfig {
    let mut node = NodeConfig::new(config.topology.clone()).with_functions(Arc::new(registry));
    if let Some(secret) = &config.secret {
        node = node.with_secret(secret.clone());
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
    let mut server = Server::builder(node).listen(listen);
    if !databases.is_empty() {
        server = server.service(databases.service(homing_rpc::DEFAULT_MAX_MESSAGE_BYTES));
    }
    Ok(Some(server.start().await?))
}
