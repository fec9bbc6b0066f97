//! The places of connections that have not proved anything.
//!
//! A stranger costs a socket, a task and 121 bytes of its words, on a node with TLS up to 64 KiB (the largest message of its
//! handshake), for [`PROOF_TIMEOUT`](crate::server::reception) at most.
//! There are [`MAX_STRANGERS`] places, apart from those of peers. If all are taken, a new connection is not turned away,
//! because it may be a peer: it takes the place of the oldest connection from the address that has the most. So a
//! machine that opens thousands of connections pushes out its own, and a peer keeps its place for the one round trip that
//! it needs. Strangers with more addresses than there are places push out the oldest: the peer needs its round trip
//! before as many new connections arrive as there are places.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    /// The oldest first.
    taken: VecDeque<Taken>,
    /// The number of the newest.
    numbers: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    network: IpAddr,
    /// Dropped if another connection takes the place.
    _keep: oneshot::Sender<()>,
}

/// The place of a stranger, until it is dropped.
#[derive(Debug)]
pub(crate) struct StrangerPlace {
    number: u64,
    strangers: Strangers,
    lost: oneshot::Receiver<()>,
}

impl Strangers {
    /// Takes a place for a connection from this address. If there is none, another connection loses its place.
    pub(crate) fn enter(&self, address: IpAddr) -> StrangerPlace {
        let (keep, lost) = oneshot::channel();
        let mut places = self.places();
        if places.taken.len() >= MAX_STRANGERS {
            places.push_out();
        }
        places.numbers += 1;
        let number = places.numbers;
        places.taken.push_back(Taken { number, network: network(address), _keep: keep });
        StrangerPlace { number, strangers: self.clone(), lost }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Takes the place of the oldest connection of the network that has the most; of two, that of the older connection.
    fn push_out(&mut self) {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for taken in &self.taken {
            *counts.entry(taken.network).or_default() += 1;
        }
        let most = counts.values().copied().max();
        let oldest = self.taken.iter().position(|taken| counts.get(&taken.network).copied() == most);
        if let Some(oldest) = oldest {
            self.taken.remove(oldest);
        }
    }
}

impl StrangerPlace {
    /// Waits until another connection has taken the place.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. It must not be called again after it has completed.
    pub(crate) async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        self.strangers.places().taken.retain(|taken| taken.number != self.number);
    }
}

/// Returns the addresses that one owner has: an IPv4 address, or the 64 bits that every IPv6 network assigns at least
/// (<https://www.rfc-editor.org/rfc/rfc6177>).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// How many connections that have not proved anything a server keeps. All peers of a large region may connect at the
/// same time, and a process has at least 1024 file descriptors, most of which are for peers and databases.
pub(crate) const MAX_STRANGERS: usize = 256;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn has_lost(place: &mut StrangerPlace) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn flood_of_one_address_pushes_itself_out() {
        let strangers = Strangers::default();
        let mut peer = strangers.enter(ip("10.0.0.1"));
        let mut flood: Vec<_> = (0..5000).map(|_| strangers.enter(ip("10.0.0.2"))).collect();
        assert!(!has_lost(&mut peer));
        let kept: Vec<_> = flood.iter_mut().map(|place| !has_lost(place)).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), MAX_STRANGERS - 1);
        assert!(kept[5000 - (MAX_STRANGERS - 1)..].iter().all(|kept| *kept), "the newest keep their places");
        assert_eq!(strangers.places().taken.len(), MAX_STRANGERS);
        drop((peer, flood));
        assert!(strangers.places().taken.is_empty());
    }

    #[test]
    fn many_addresses_push_out_the_oldest() {
        let strangers = Strangers::default();
        let mut places: Vec<_> = (0..512_u32).map(|last| strangers.enter(IpAddr::V4(last.into()))).collect();
        assert_eq!(places.iter_mut().position(|place| !has_lost(place)), Some(512 - MAX_STRANGERS));
    }

    #[test]
    fn network_of_an_address_is_its_owner() {
        assert_eq!(network(ip("fdaa:0:18:a7b::1")), network(ip("fdaa:0:18:a7b:2::3")));
        assert_ne!(network(ip("fdaa:0:18:a7b::1")), network(ip("fdaa:0:18:a7c::1")));
        assert_ne!(network(ip("::ffff:10.0.0.1")), network(ip("::ffff:10.0.0.2")));
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
