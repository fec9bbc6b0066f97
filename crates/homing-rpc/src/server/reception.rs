//! Decides which connections become those of peers.
//!
//! A connection is a stranger's until it has proved that it has the secret, and has a [place](Strangers) for that long. The
//! proof gives it one of the [`MAX_PEERS`] places of peers. On a node without a secret, which listens on a loopback address
//! only, the first byte is the proof.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::handshake::message::NodeNumber;
use crate::handshake::refusal::Refusal;
use crate::handshake::server::{Origin, demand, farewell, last_words};
use crate::secret::Secret;
use crate::server::refusals::Refusals;
use crate::server::strangers::{StrangerPlace, Strangers};

/// Decides which connections become those of peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    secret: Option<Secret>,
    node: NodeNumber,
    strangers: Strangers,
    peers: Arc<Semaphore>,
    refusals: Refusals,
}

/// The place of a peer's connection, until it is dropped.
pub(crate) type PeerPlace = OwnedSemaphorePermit;

impl Reception {
    pub(crate) fn new(secret: Option<Secret>, node: NodeNumber, refusals: Refusals) -> Self {
        let peers = Arc::new(Semaphore::new(MAX_PEERS));
        Self { secret, node, strangers: Strangers::default(), peers, refusals }
    }

    /// Takes a stranger's place for a new connection.
    pub(crate) fn enter(&self, address: SocketAddr) -> StrangerPlace {
        self.strangers.enter(address.ip())
    }

    /// Returns the place of a peer, if the connection has proved that it is one. Otherwise it is counted and logged why
    /// not, and the connection is to be closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is to be closed. It is not counted.
    pub(crate) async fn admit(
        &self,
        stream: &mut TcpStream,
        address: SocketAddr,
        mut place: StrangerPlace,
    ) -> Option<PeerPlace> {
        let checked = tokio::select! {
            checked = time::timeout(PROOF_TIMEOUT, self.check(stream, address)) => checked.unwrap_or(Err(Refusal::Silent)),
            () = place.lost() => Err(Refusal::Crowded),
        };
        let refusal = match checked {
            Ok(place) => return Some(place),
            Err(refusal) => refusal,
        };
        self.refusals.note(address, refusal);
        if let Some(words) = last_words(refusal) {
            tokio::select! {
                () = farewell(stream, &words) => {}
                () = place.lost() => {}
            }
        }
        None
    }

    async fn check(&self, stream: &mut TcpStream, address: SocketAddr) -> Result<PeerPlace, Refusal> {
        match &self.secret {
            Some(secret) => demand(stream, self.node, secret, origin(stream, address)).await?,
            None => stream.readable().await.map_err(|_| Refusal::Closed)?,
        }
        Arc::clone(&self.peers).try_acquire_owned().map_err(|_| Refusal::Full)
    }
}

/// Returns where a connection comes from. If its local address is unknown, it has ended.
fn origin(stream: &TcpStream, address: SocketAddr) -> Origin {
    match stream.local_addr() {
        Ok(local) if local.ip() == address.ip() => Origin::SameAddress,
        _ => Origin::Elsewhere,
    }
}

/// How many connections of peers a server may have; each node that calls this one has one, and for a moment a second one
/// while it replaces the first.
const MAX_PEERS: usize = 1024;

/// A connection that has not proved within this time that it has the secret is closed. It is longer than the time that
/// nodes give a connection by default, so that a slow link is the caller's decision.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
