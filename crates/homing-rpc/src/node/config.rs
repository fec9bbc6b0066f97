//! The settings that a node's client and its server share.

use std::fmt;
use std::sync::Arc;

use homing_proto::v1::{DatabaseState, Position};
use prost::Message;
use tonic::Status;

use crate::error::reason::Reason;
use crate::error::{Error, Result};
use crate::function::registry::Registry;
use crate::handshake::message::NodeNumber;
use crate::metadata::expectations::Expectations;
use crate::peer::settings::PeerSettings;
use crate::secret::Secret;
use crate::task::BoxFuture;
use crate::tls::Tls;
use crate::topology::Topology;

/// The settings that the [`Rpc`](crate::Rpc) and the [`Server`](crate::Server) of a node share: its regions, its
/// credential, its functions and its databases.
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeConfig {
    pub(crate) topology: Topology,
    pub(crate) secret: Option<Secret>,
    pub(crate) tls: Option<Tls>,
    pub(crate) functions: Arc<Registry>,
    pub(crate) positions: Option<Arc<dyn Positions>>,
    pub(crate) states: Option<Arc<dyn States>>,
    pub(crate) max_message_bytes: usize,
    pub(crate) peers: PeerSettings,
    /// Random, the same for all clones.
    pub(crate) id: u128,
}

impl NodeConfig {
    /// Returns the settings of a node without credential, functions and databases.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            secret: None,
            tls: None,
            functions: Arc::default(),
            positions: None,
            states: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            peers: PeerSettings::default(),
            id: rand::random(),
        }
    }

    /// Sets the credential. Client and server prove to each other that they have it, at the beginning of each connection.
    /// Default: none; a server without a credential and without certificates listens on loopback addresses only.
    pub fn with_secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Sets the certificates. Client and server prove to each other that they have them, and encrypt all connections.
    /// Default: none.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets the functions that the node runs, for its peers and for its own calls to its own region. Default: none.
    pub fn with_functions(self, functions: Arc<Registry>) -> Self {
        Self { functions, ..self }
    }

    /// Sets the source of the positions that are read after each function. Default: no positions.
    pub fn with_positions(self, positions: Arc<dyn Positions>) -> Self {
        Self { positions: Some(positions), ..self }
    }

    /// Sets the source of the database states in the answer to `Describe`. Default: no states.
    pub fn with_states(self, states: Arc<dyn States>) -> Self {
        Self { states: Some(states), ..self }
    }

    /// Sets how many bytes a message may have. Default: [`DEFAULT_MAX_MESSAGE_BYTES`]. All nodes of the application
    /// need the same limit.
    pub fn with_max_message_bytes(self, max_message_bytes: usize) -> Self {
        Self { max_message_bytes, ..self }
    }

    /// Sets the limits of the way to peers.
    pub fn with_peers(self, peers: PeerSettings) -> Self {
        Self { peers, ..self }
    }

    /// Returns the random number of the node, which is the same for all clones.
    pub(crate) fn node_number(&self) -> NodeNumber {
        self.id.to_be_bytes()
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
                "a message of {bytes} bytes is over the limit of {limit} bytes; send less, or raise the limit on all \
                 nodes"
            ),
        ))
    }
}

/// Reads the positions of the node's databases after each function.
pub trait Positions: fmt::Debug + Send + Sync + 'static {
    /// Returns a position for each database of the node. No commit that was made before the call is after its
    /// database's position. A database that cannot be asked is left out.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the deadline of the function's caller.
    fn current(&self) -> BoxFuture<'_, Vec<Position>>;

    /// Checks that the node's databases are what the caller of a function expects, before the function runs. `scope` is that of
    /// the call. Default: they are.
    ///
    /// # Errors
    ///
    /// A status with the reason [`NotPrimary`](crate::Reason::NotPrimary) if a position has a later timeline than the
    /// database, [`HistoryLost`](crate::Reason::HistoryLost) if the database does not have it, or
    /// [`OtherCluster`](crate::Reason::OtherCluster) if the database is of another cluster.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the deadline of the function's caller.
    fn check<'a>(&'a self, scope: &'a str, expected: Expectations) -> BoxFuture<'a, Result<(), Status>> {
        drop((scope, expected));
        Box::pin(async { Ok(()) })
    }
}

/// Returns the states of the node's databases for `Describe`.
pub trait States: fmt::Debug + Send + Sync + 'static {
    /// Returns the last known state of each database of the node, without asking the database.
    fn states(&self) -> Vec<DatabaseState>;
}

/// The default limit for a message: 16 MiB. A larger message is refused with [`Reason::TooLarge`], before it is sent or
/// when it arrives.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
