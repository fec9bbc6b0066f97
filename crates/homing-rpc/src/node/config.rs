//! What a node's client and its server have in common.

use std::fmt;
use std::sync::Arc;

use homing_proto::v1::{DatabaseState, Position};
use prost::Message;

use crate::error::Error;
use crate::error::Result;
use crate::error::reason::Reason;
use crate::function::registry::Registry;
use crate::secret::Secret;
use crate::task::BoxFuture;
use crate::topology::Topology;

/// What the [`Rpc`](crate::Rpc) and the [`Server`](crate::Server) of a node have in common: where the node runs, its
/// credential, its functions and its databases.
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeConfig {
    pub(crate) topology: Topology,
    pub(crate) secret: Option<Secret>,
    pub(crate) functions: Arc<Registry>,
    pub(crate) positions: Option<Arc<dyn Positions>>,
    pub(crate) states: Option<Arc<dyn States>>,
    pub(crate) max_message_bytes: usize,
    /// Random, the same for all clones.
    pub(crate) id: String,
}

impl NodeConfig {
    /// Returns the settings of a node in the region of the topology, without credential, functions and databases.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            secret: None,
            functions: Arc::default(),
            positions: None,
            states: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            id: format!("{:032x}", rand::random::<u128>()),
        }
    }

    /// Sets the credential that is sent to peers and that every request has to show. Default: none; then a server takes
    /// requests on loopback addresses only.
    pub fn with_secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Sets the functions that the node runs, for its peers and for its own calls to its region. Default: none.
    pub fn with_functions(self, functions: Arc<Registry>) -> Self {
        Self { functions, ..self }
    }

    /// Sets the source of the positions that accompany each function's result. Default: no positions.
    pub fn with_positions(self, positions: Arc<dyn Positions>) -> Self {
        Self { positions: Some(positions), ..self }
    }

    /// Sets the source of what `Describe` says about the node's databases. Default: nothing.
    pub fn with_states(self, states: Arc<dyn States>) -> Self {
        Self { states: Some(states), ..self }
    }

    /// Sets how many bytes a message may have. Default: [`DEFAULT_MAX_MESSAGE_BYTES`]. All nodes of the application need
    /// the same limit.
    pub fn with_max_message_bytes(self, max_message_bytes: usize) -> Self {
        Self { max_message_bytes, ..self }
    }

    /// Checks that a message to be sent is within the limit.
    pub(crate) fn check_size(&self, message: &impl Message) -> Result<()> {
        let (bytes, limit) = (message.encoded_len(), self.max_message_bytes);
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::refused(
            Reason::TooLarge,
            None,
            format!(
                "{bytes} bytes to send, and a message may have {limit}; send less or raise the limit on both sides"
            ),
        ))
    }
}

/// Asked after each function: positions that are not before any of its commits.
pub trait Positions: fmt::Debug + Send + Sync + 'static {
    /// One position for each database of the node; a database that cannot be asked is left out.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the caller's deadline.
    fn current(&self) -> BoxFuture<'_, Vec<Position>>;
}

/// Asked by `Describe`: what is known of each database of the node, without asking it.
pub trait States: fmt::Debug + Send + Sync + 'static {
    /// One state for each database of the node.
    fn states(&self) -> Vec<DatabaseState>;
}

/// How many bytes a message may have where nothing else is set: 16 MiB.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
