//! Chooses the peer for an attempt, or explains why no peer can take it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::error::reason::Reason;
use crate::error::{Error, Result};
use crate::peer::channel::Link;
use crate::peer::load;
use crate::peer::load::Load;
use crate::peer::monitor::PeerState;
use crate::peer::name::PeerName;
use crate::region::Region;

/// The peers of a region at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) members: Vec<Member>,
    /// The result of the last look-up of the region's addresses; `None` before the first result.
    pub(crate) lookup: Option<LastLookup>,
    /// Since when no peer has been up; `None` while one is.
    pub(crate) without_peer_since: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: PeerName,
    pub(crate) state: PeerState,
    pub(crate) load: Arc<Load>,
}

#[derive(Clone, Debug)]
pub(crate) struct LastLookup {
    pub(crate) at: Instant,
    /// Whether the name service answered, also if it has no address.
    pub(crate) is_answer: bool,
    /// Why the look-up returned no address.
    pub(crate) failure: Option<Arc<str>>,
}

/// The needs of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickRequest<'a> {
    /// When it began to wait.
    pub(crate) began: Instant,
    /// For how long no peer may have been up, so that it still waits for one.
    pub(crate) patience: Duration,
    /// The only peer that may get it.
    pub(crate) peer: Option<SocketAddr>,
    /// Peers that earlier attempts have tried; others are preferred.
    pub(crate) tried: &'a [SocketAddr],
    /// What to wait for if no untried peer is up.
    pub(crate) wait_for: WaitFor,
    /// Peers that said a moment ago that their database is not the primary; others are preferred.
    pub(crate) passed_over: &'a [SocketAddr],
}

/// What an attempt waits for if no untried peer is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// An untried peer that may come up, or else any peer.
    AnyPeer,
    /// An untried peer that may come up.
    UntriedPeer,
    /// An untried peer that may come up, or else that any peer's database is back.
    Database,
    /// Room at any peer, if no untried peer is up: all peers are full.
    Room,
    /// Nothing: the request fails.
    Nothing,
}

#[derive(Debug)]
pub(crate) enum Choice {
    /// Use this connection.
    Peer(Arc<Link>),
    /// Say that a call waits for a peer, and choose again after the next change.
    Wait,
    /// No peer can take the request.
    NoPeer,
}

impl Snapshot {
    /// Returns the snapshot without other peers than this one, if only one may get the request.
    pub(crate) fn only(self: Arc<Self>, peer: Option<SocketAddr>, region: &Region) -> Result<Arc<Self>> {
        let Some(address) = peer else { return Ok(self) };
        let members: Vec<_> = self.members.iter().filter(|member| member.name.address == address).cloned().collect();
        if members.is_empty() && self.lookup.is_some() {
            let known: Vec<_> = self.members.iter().map(|member| member.name.address.to_string()).collect();
            return Err(Error::not_sent(format!(
                "{address} is not a peer in region {region}; its peers are now: {}",
                known.join(", ")
            )));
        }
        Ok(Arc::new(Self { members, lookup: self.lookup.clone(), without_peer_since: self.without_peer_since }))
    }

    pub(crate) fn choose(&self, request: &PickRequest<'_>, now: Instant, rng: &mut impl Rng) -> Choice {
        let untried = |member: &&Member| !request.tried.contains(&member.name.address);
        let fresh: Vec<&Member> = self.members.iter().filter(untried).collect();
        if let Some(link) = cheapest(&fresh, request.passed_over, now, rng) {
            return Choice::Peer(link);
        }
        let is_patient = self.gives_up_at(request).is_some_and(|at| now < at);
        if matches!(request.wait_for, WaitFor::Room | WaitFor::Nothing) {
            return Choice::NoPeer;
        }
        if self.may_become_ready(&fresh, request, is_patient) {
            return Choice::Wait;
        }
        if matches!(request.wait_for, WaitFor::UntriedPeer | WaitFor::Database) {
            return Choice::NoPeer;
        }
        let all: Vec<&Member> = self.members.iter().collect();
        match cheapest(&all, request.passed_over, now, rng) {
            Some(link) => Choice::Peer(link),
            None if self.may_become_ready(&all, request, is_patient) => Choice::Wait,
            None => Choice::NoPeer,
        }
    }

    /// Returns until when a request waits although every peer has failed; `None` while a peer is up. A peer that
    /// restarts, or a link that resets, is back soon. If no peer has been up for as long as the request would wait, it
    /// fails as soon as every peer has failed once more.
    pub(crate) fn gives_up_at(&self, request: &PickRequest<'_>) -> Option<Instant> {
        self.without_peer_since.map(|since| since + request.patience)
    }

    /// Returns whether one of these members may become ready.
    fn may_become_ready(&self, members: &[&Member], request: &PickRequest<'_>, is_patient: bool) -> bool {
        if self.members.is_empty() {
            return self.lookup.as_ref().is_none_or(|lookup| {
                // An answer without addresses is an answer; a failure may pass.
                !is_recent(lookup.at, request) || is_patient && !lookup.is_answer
            });
        }
        members.iter().any(|member| match &member.state {
            PeerState::Down(down) => down.refusal.is_none() && (is_patient || !is_recent(down.at, request)),
            PeerState::Connecting | PeerState::Ready(_) => true,
        })
    }

    /// Returns whether a request that waits for an answer on this connection should be sent again: the peer is silent,
    /// and there is another connection to a peer that was not tried, or to the same peer.
    pub(crate) fn replaces(&self, link: &Arc<Link>, tried: &[SocketAddr]) -> bool {
        let is_other = |other: &Arc<Link>| !Arc::ptr_eq(other, link) && !tried.contains(&other.name.address);
        link.is_silent.load(Ordering::Acquire) && self.members.iter().filter_map(Member::link).any(is_other)
    }

    /// Returns the error for a request that no peer can take.
    pub(crate) fn no_peer(&self, region: &Region) -> Error {
        if self.members.is_empty() {
            let failure = self.lookup.as_ref().and_then(|lookup| lookup.failure.as_deref());
            let failure = failure.unwrap_or("its addresses are still being looked up");
            return Error::not_sent(format!(
                "no peer is known in region {region}: {failure}; check the name of the region and the discovery of its \
                 addresses"
            ));
        }
        let message = format!("no peer in region {region} can take the call: {}", self.describe());
        match self.common_refusal() {
            Some(reason) => Error::refused(reason, None, message),
            None => Error::not_sent(message),
        }
    }

    /// Lists each address and its state.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (index, member) in self.members.iter().take(MAX_LISTED).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let state = match &member.state {
                PeerState::Connecting => "still connecting",
                PeerState::Ready(_) if member.load.admits(Instant::now()) => "up",
                PeerState::Ready(_) => "up, but it refused or failed the last calls",
                PeerState::Down(down) => &down.message,
            };
            let _ = write!(text, "{separator}{}: {state}", member.name.address);
        }
        if let Some(more @ 1..) = self.members.len().checked_sub(MAX_LISTED) {
            let _ = write!(text, "; and {more} more");
        }
        text
    }

    /// Returns the reason for which all peers refuse this node, if it is the same.
    fn common_refusal(&self) -> Option<Reason> {
        let mut refusals = self.members.iter().map(|member| match &member.state {
            PeerState::Down(down) => down.refusal,
            _ => None,
        });
        let first = refusals.next()??;
        refusals.all(|refusal| refusal == Some(first)).then_some(first)
    }
}

fn cheapest(members: &[&Member], passed_over: &[SocketAddr], now: Instant, rng: &mut impl Rng) -> Option<Arc<Link>> {
    let mut ready: Vec<(&Arc<Link>, &Member)> =
        members.iter().filter_map(|member| Some((member.link()?, *member))).collect();
    prefer(&mut ready, |member| !passed_over.contains(&member.name.address));
    prefer(&mut ready, |member| member.load.admits(now));
    let costs: Vec<f64> = ready.iter().map(|(_, member)| member.load.cost(now)).collect();
    load::choose(&costs, rng).map(|index| Arc::clone(ready[index].0))
}

/// Keeps the good ones, if there are any.
fn prefer(ready: &mut Vec<(&Arc<Link>, &Member)>, good: impl Fn(&Member) -> bool) {
    if ready.iter().any(|(_, member)| good(member)) {
        ready.retain(|(_, member)| good(member));
    }
}

impl Member {
    /// Returns the connection, unless it has ended and the report of that is still on its way.
    fn link(&self) -> Option<&Arc<Link>> {
        match &self.state {
            PeerState::Ready(link) if !link.is_closed() => Some(link),
            _ => None,
        }
    }
}

/// Returns whether a failure counts for this request.
fn is_recent(failed_at: Instant, request: &PickRequest<'_>) -> bool {
    failed_at + RECENT >= request.began
}

/// Failures from shortly before the request began count too: another attempt now would fail in the same way.
const RECENT: Duration = crate::peer::monitor::MIN_DELAY;

/// How many peers an error message lists; the others are counted.
const MAX_LISTED: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use tokio::time;

    use super::*;
    use crate::metadata::identity::Identity;
    use crate::peer::monitor::Down;
    use crate::topology::Topology;

    const PATIENCE: Duration = Duration::from_secs(4);

    fn address(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn name(port: u16) -> PeerName {
        PeerName::new(Region::local(), address(port))
    }

    fn member(port: u16, state: PeerState) -> Member {
        Member { name: name(port), state, load: Arc::default() }
    }

    fn snapshot(members: impl IntoIterator<Item = Member>) -> Snapshot {
        let lookup = Some(LastLookup { at: Instant::now(), is_answer: true, failure: None });
        Snapshot { members: members.into_iter().collect(), lookup, without_peer_since: None }
    }

    fn down(at: Instant, refusal: Option<Reason>) -> PeerState {
        PeerState::Down(Down { at, message: "broken".into(), refusal })
    }

    /// A connection whose other end never sends anything.
    async fn ready(port: u16) -> (PeerState, impl Sized) {
        let (local, remote) = tokio::io::duplex(1024);
        let (requests, driver) = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .handshake(hyper_util::rt::TokioIo::new(local))
            .await
            .unwrap();
        let identity = Arc::new(Identity::new(&Topology::local(), [0; 16], None, None));
        let streams = Arc::new(tokio::sync::Semaphore::new(1));
        let load = Arc::default();
        let link = Link { name: name(port), requests, identity, load, streams, is_silent: AtomicBool::new(false) };
        (PeerState::Ready(Arc::new(link)), (remote, driver))
    }

    /// The choice as text: a port, or a word.
    fn chosen(snapshot: &Snapshot, request: &PickRequest<'_>) -> String {
        match snapshot.choose(request, Instant::now(), &mut SmallRng::seed_from_u64(7)) {
            Choice::Peer(link) => link.name.address.port().to_string(),
            Choice::Wait => "wait".into(),
            Choice::NoPeer => "no peer".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn empty_snapshot_awaits_the_look_up() {
        let began = Instant::now();
        let request = PickRequest { began, ..request() };
        assert_eq!(chosen(&Snapshot::default(), &request), "wait");
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(chosen(&snapshot([]), &request), "no peer");
        let late = PickRequest { began: Instant::now() + Duration::from_secs(1), ..request };
        assert_eq!(chosen(&snapshot([]), &late), "wait");
    }

    #[tokio::test(start_paused = true)]
    async fn request_fails_after_all_peers_failed() {
        let old = Instant::now();
        time::advance(Duration::from_secs(1)).await;
        let request = request();
        let new = Instant::now();
        let table = [
            (vec![PeerState::Connecting], "wait"),
            (vec![down(new, None), PeerState::Connecting], "wait"),
            (vec![down(new, None), down(old, None)], "wait"),
            (vec![down(new, None), down(new, None)], "no peer"),
            (vec![down(old, Some(Reason::Unauthenticated))], "no peer"),
            (vec![down(new - RECENT, None)], "no peer"),
        ];
        for (states, expected) in table {
            let members = states.into_iter().zip(1..).map(|(state, port)| member(port, state));
            let snapshot = snapshot(members);
            assert_eq!(chosen(&snapshot, &request), expected, "{snapshot:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_waits_through_short_outage() {
        let now = Instant::now();
        let failed = Snapshot {
            lookup: Some(LastLookup { at: now, is_answer: false, failure: Some("no answer".into()) }),
            ..snapshot([])
        };
        let table = [
            (snapshot([member(1, down(now, None))]), "wait"),
            (snapshot([member(1, down(now, Some(Reason::Unauthenticated)))]), "no peer"),
            (snapshot([]), "no peer"),
            (failed, "wait"),
        ];
        for (snapshot, expected) in table {
            let snapshot = Snapshot { without_peer_since: Some(now), ..snapshot };
            assert_eq!(chosen(&snapshot, &request()), expected, "{snapshot:?}");
            let tried = [address(1)];
            assert_eq!(chosen(&snapshot, &PickRequest { tried: &tried, ..request() }), expected, "{snapshot:?}");
            assert_eq!(chosen(&snapshot, &PickRequest { wait_for: WaitFor::Nothing, ..request() }), "no peer");
            let late = Snapshot { without_peer_since: now.checked_sub(PATIENCE), ..snapshot };
            assert_eq!(chosen(&late, &request()), "no peer", "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tried_peers_are_the_last_choice() {
        let ((one, _one), (two, _two)) = (ready(1).await, ready(2).await);
        let both = snapshot([member(1, one.clone()), member(2, two)]);
        let (first, all) = ([address(1)], [address(1), address(2)]);
        assert_eq!(chosen(&both, &PickRequest { tried: &first, ..request() }), "2");
        for (wait_for, expected) in [(WaitFor::Nothing, "no peer"), (WaitFor::UntriedPeer, "no peer")] {
            assert_eq!(chosen(&both, &PickRequest { tried: &all, wait_for, ..request() }), expected);
        }
        assert!(chosen(&both, &PickRequest { tried: &all, ..request() }).parse::<u16>().is_ok());
        let coming = snapshot([member(1, one), member(2, PeerState::Connecting)]);
        for (wait_for, expected) in
            [(WaitFor::Nothing, "no peer"), (WaitFor::UntriedPeer, "wait"), (WaitFor::AnyPeer, "wait")]
        {
            assert_eq!(chosen(&coming, &PickRequest { tried: &first, wait_for, ..request() }), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn passed_over_peer_is_still_chosen_last() {
        let ((one, _one), (two, _two)) = (ready(1).await, ready(2).await);
        let both = snapshot([member(1, one), member(2, two)]);
        let passed_over = [address(1)];
        let request = PickRequest { passed_over: &passed_over, ..request() };
        assert_eq!(chosen(&both, &request), "2");
        let tried = [address(2)];
        assert_eq!(chosen(&both, &PickRequest { tried: &tried, ..request }), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn failing_peer_is_chosen_last() {
        let ((one, _one), (two, _two)) = (ready(1).await, ready(2).await);
        let both = snapshot([member(1, one), member(2, two)]);
        while both.members[0].load.failed(Instant::now()).is_none() {}
        assert_eq!(chosen(&both, &request()), "2");
        let tried = [address(2)];
        assert_eq!(chosen(&both, &PickRequest { tried: &tried, ..request() }), "1");
        assert!(both.describe().contains("10.0.0.1:1: up, but it refused"), "{}", both.describe());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_is_replaced() {
        let ((one, _one), (again, _again), (two, _two)) = (ready(1).await, ready(1).await, ready(2).await);
        let PeerState::Ready(link) = &one else { unreachable!() };
        let both = snapshot([member(1, one.clone()), member(2, two.clone())]);
        assert!(!both.replaces(link, &[]), "it is not silent");
        link.is_silent.store(true, Ordering::Release);
        assert!(both.replaces(link, &[]));
        assert!(!both.replaces(link, &[address(2)]));
        assert!(!snapshot([member(1, PeerState::Connecting)]).replaces(link, &[]));
        assert!(snapshot([member(1, again)]).replaces(link, &[]));
    }

    #[tokio::test(start_paused = true)]
    async fn ended_connection_is_not_chosen() {
        let (state, driver) = ready(1).await;
        let alone = snapshot([member(1, state)]);
        assert_eq!(chosen(&alone, &request()), "1");
        drop(driver);
        assert_eq!(chosen(&alone, &request()), "wait");
    }

    #[tokio::test(start_paused = true)]
    async fn error_names_addresses_and_common_refusal() {
        let now = Instant::now();
        let members = (1..=10).map(|port| member(port, down(now, Some(Reason::Unauthenticated))));
        let error = snapshot(members).no_peer(&Region::local());
        assert!(error.is_not_sent() && error.is_unauthenticated());
        assert!(error.to_string().contains("10.0.0.1:8: broken; and 2 more"), "{error}");
        let mixed = snapshot([member(1, down(now, Some(Reason::Unauthenticated))), member(2, down(now, None))]);
        assert_eq!(mixed.no_peer(&Region::local()).reason(), None);
    }

    fn request() -> PickRequest<'static> {
        PickRequest {
            began: Instant::now(),
            patience: PATIENCE,
            peer: None,
            tried: &[],
            wait_for: WaitFor::AnyPeer,
            passed_over: &[],
        }
    }
}
