//! Decides which connections become those of peers.
//!
//! A connection is a stranger's until it has proved that it has the secret, and has a [place](Strangers) for that long. The
//! proof gives it one of the places of peers. On a node with TLS, the certificate is the proof, and then that of
//! the secret if the node has one. On a node with neither, which listens on a loopback address only, the first byte is the
//! proof.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use tokio_util::either::Either;

use crate::handshake::message::NodeNumber;
use crate::handshake::refusal::Refusal;
use crate::handshake::server::{Origin, TLS_HANDSHAKE, demand, farewell, last_words, without_tls};
use crate::node::config::NodeConfig;
use crate::secret::Secret;
use crate::server::refusals::Refusals;
use crate::server::strangers::{StrangerPlace, Strangers};
use crate::tls::{NodeStream, Tls, is_of_tls};

/// Decides which connections become those of peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    secret: Option<Secret>,
    tls: Option<Tls>,
    node: NodeNumber,
    strangers: Strangers,
    peers: Arc<Semaphore>,
    proof_timeout: Duration,
    refusals: Refusals,
}

/// The place of a peer's connection, until it is dropped.
pub(crate) type PeerPlace = OwnedSemaphorePermit;

/// A connection that is not a peer's.
struct Denied {
    refusal: Refusal,
    /// What TLS says about it.
    detail: Option<String>,
    /// The connection, if it can still be told why.
    stream: Option<NodeStream>,
}

impl Reception {
    /// Receives up to `max_peers` connections of peers.
    pub(crate) fn new(config: &NodeConfig, max_peers: usize, refusals: Refusals) -> Self {
        Self {
            secret: config.secret.clone(),
            tls: config.tls.clone(),
            node: config.node_number(),
            strangers: Strangers::default(),
            peers: Arc::new(Semaphore::new(max_peers)),
            proof_timeout: PROOF_TIMEOUT.max(config.peers.connect_timeout.saturating_mul(3)),
            refusals,
        }
    }

    /// Takes a stranger's place for a new connection.
    pub(crate) fn enter(&self, address: SocketAddr) -> StrangerPlace {
        self.strangers.enter(address.ip())
    }

    /// Returns the connection and the place of a peer, if it has proved that it is one. Otherwise it is counted and logged
    /// why not, and the connection is closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed. It is not counted.
    pub(crate) async fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        mut place: StrangerPlace,
    ) -> Option<(NodeStream, PeerPlace)> {
        let checked = tokio::select! {
            checked = time::timeout(self.proof_timeout, self.check(stream, address)) => {
                checked.unwrap_or(Err(Refusal::Silent.into()))
            }
            () = place.lost() => Err(Refusal::Crowded.into()),
        };
        let Denied { refusal, detail, stream } = match checked {
            Ok(peer) => return Some(peer),
            Err(denied) => denied,
        };
        self.refusals.note(address, refusal, detail.as_deref());
        if let (Some(words), Some(mut stream)) = (last_words(refusal), stream) {
            tokio::select! {
                () = farewell(&mut stream, &words) => {}
                () = place.lost() => {}
            }
        }
        None
    }

    async fn check(&self, stream: TcpStream, address: SocketAddr) -> Result<(NodeStream, PeerPlace), Denied> {
        let origin = origin(&stream, address);
        let mut stream = self.secure(stream).await?;
        if let Err(refusal) = self.prove(&mut stream, origin).await {
            return Err(Denied { refusal, detail: None, stream: Some(stream) });
        }
        match Arc::clone(&self.peers).try_acquire_owned() {
            Ok(place) => Ok((stream, place)),
            Err(_) => Err(Denied { refusal: Refusal::Full, detail: None, stream: Some(stream) }),
        }
    }

    /// Begins TLS, if this node has certificates.
    async fn secure(&self, mut stream: TcpStream) -> Result<NodeStream, Denied> {
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let mut first = [0];
        let count = stream.peek(&mut first).await.unwrap_or_default();
        if count > 0 && first != TLS_HANDSHAKE {
            let refusal = without_tls(&mut stream).await;
            return Err(Denied { refusal, detail: None, stream: Some(Either::Left(stream)) });
        }
        tls.accept(stream).await.map_err(|(error, stream)| match is_of_tls(&error) {
            true => {
                let (detail, stream) = (Some(error.to_string()), Some(Either::Left(stream)));
                Denied { refusal: Refusal::Certificate, detail, stream }
            }
            false => Refusal::Closed.into(),
        })
    }

    async fn prove(&self, stream: &mut NodeStream, origin: Origin) -> Result<(), Refusal> {
        match (&self.secret, &stream) {
            (Some(secret), _) => demand(stream, self.node, secret, origin).await,
            // TLS was the proof.
            (None, Either::Right(_)) => Ok(()),
            (None, Either::Left(stream)) => stream.readable().await.map_err(|_| Refusal::Closed),
        }
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None, stream: None }
    }
}

/// Returns where a connection comes from. If its local address is unknown, it has ended.
fn origin(stream: &TcpStream, address: SocketAddr) -> Origin {
    match stream.local_addr() {
        Ok(local) if local.ip() == address.ip() => Origin::SameAddress,
        _ => Origin::Elsewhere,
    }
}

/// A connection that has not proved within this time that it has the secret is closed. It is longer than the time that
/// nodes give a connection by default, and grows with it, so that a slow link is the caller's decision.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::peer::settings::PeerSettings;
    use crate::topology::Topology;

    #[test]
    fn slow_links_have_time_for_their_proof() {
        for (connect_timeout, expected) in [(3, 10), (20, 60)] {
            let peers = PeerSettings::default().with_connect_timeout(Duration::from_secs(connect_timeout));
            let config = NodeConfig::new(Topology::local()).with_peers(peers);
            let reception = Reception::new(&config, 1, Refusals::default());
            assert_eq!(reception.proof_timeout, Duration::from_secs(expected));
        }
    }

    #[tokio::test]
    async fn peer_without_a_place_is_told() {
        let refusals = Refusals::default();
        let reception = Reception::new(&NodeConfig::new(Topology::local()), 2, refusals.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(b"P").await.unwrap();
            let (stream, address) = listener.accept().await.unwrap();
            (client, stream, address)
        };
        let all = Arc::clone(&reception.peers).acquire_many_owned(2).await.unwrap();
        let (mut client, stream, address) = connect().await;
        let told = async {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            client.shutdown().await.unwrap();
            drop(client);
            answer
        };
        let (admitted, answer) =
            futures_util::future::join(reception.admit(stream, address, reception.enter(address)), told).await;
        assert!(admitted.is_none());
        assert!(String::from_utf8_lossy(&answer).contains("as many connections"), "{answer:?}");
        assert!(refusals.counts().any(|count| count == (Refusal::Full, 1)));

        drop(all);
        let (_client, stream, address) = connect().await;
        assert!(reception.admit(stream, address, reception.enter(address)).await.is_some());
    }
}
