//! [`TrackerTask`], the background task of a tracker, which probes one server for the calls that wait.
//!
//! - **Spawned by** `Tracker::spawn`, one for each tracker, and detached.
//! - **Owns** its own connection to the server (one more than the pool's), the [`Cadence`], the back-off between attempts
//!   to connect, and the sending end of the `watch` channel with the server's state.
//! - **Input:** the [`Registry`] behind a lock and a `Notify`. **Output:** the `watch` channel, and a `oneshot` for
//!   each registered call.
//! - **Ends** when the last handle is dropped: after at most one probe (5 s) and closing the connection (1 s).
//! - **If it panics**, that is logged, calls that want a probe fail with `Unavailable`, and it starts again after
//!   [`RESTART_DELAY`], with a new connection. Calls that wait for a position keep waiting.
//! - **If its runtime ends**, [`CloseOnDrop`] closes the registry. Waiting and later calls fail with `WaitError::Closed` or
//!   `Unavailable`.
//! - **Bounds:** one query at a time; see the limits at the end of this file, in `link.rs` and in `cadence.rs`.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::catch_panic;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use super::cadence::{Cadence, NextProbe};
use super::error::Unavailable;
use super::link::{Link, LinkError};
use super::registry::{Agenda, Registry};
use super::waiters::Front;
use crate::connection::address::Address;
use crate::connection::known::KnownServer;
use crate::position::role::Role;
use crate::position::state::ServerState;

/// The parts that the task shares with its handles and with the pool.
pub(super) struct Shared {
    pub(super) server: Arc<str>,
    pub(super) registry: Arc<Registry>,
    pub(super) known: Arc<KnownServer>,
}

/// Runs the task of a tracker until the last handle is dropped.
pub(super) async fn run(address: Address, shared: Shared, state: watch::Sender<Option<ServerState>>) {
    let Shared { server, registry, known } = shared;
    let _close_on_drop = CloseOnDrop(Arc::clone(&registry));
    let address = address.with_options(own_options);
    while let Err(panic) = catch_panic(TrackerTask::new(&address, &server, &registry, &known, &state).run()).await {
        tracing::error!(server = &*server, panic, "a bug: following a database server panicked; it starts again");
        state.send_replace(None);
        registry.forget_shown();
        registry.refuse(&Unavailable::new(&server, None));
        if unless_closed(&registry, sleep(RESTART_DELAY)).await.is_none() {
            return;
        }
    }
}

#[derive(Debug)]
struct TrackerTask<'a> {
    address: &'a Address,
    server: &'a Arc<str>,
    registry: &'a Registry,
    known: &'a KnownServer,
    state: &'a watch::Sender<Option<ServerState>>,
    cadence: Cadence,
    backoff: Backoff,
    role: Option<Role>,
}

/// Why the task stopped following a connection.
enum LinkEnd {
    Closed,
    Lost(LinkError),
}

impl<'a> TrackerTask<'a> {
    fn new(
        address: &'a Address,
        server: &'a Arc<str>,
        registry: &'a Registry,
        known: &'a KnownServer,
        state: &'a watch::Sender<Option<ServerState>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            address,
            server,
            registry,
            known,
            state,
            cadence: Cadence::new(now),
            backoff: Backoff { failures: 0, not_before: now },
            role: None,
        }
    }

    async fn run(mut self) {
        while self.is_needed().await {
            let Some(mut link) = self.connect().await else { continue };
            match self.follow(&mut link).await {
                LinkEnd::Closed => return link.close().await,
                LinkEnd::Lost(error) => self.lose(&error),
            }
        }
    }

    /// Waits until a call needs the server. Returns false if the tracker was closed.
    async fn is_needed(&self) -> bool {
        loop {
            match self.registry.agenda() {
                Agenda::Close => return false,
                Agenda::Probe | Agenda::Wait(_) => return true,
                Agenda::Rest => self.registry.changed().await,
            }
        }
    }

    /// Makes one attempt to connect, not too soon after the last one. A connection counts only after its first answer.
    async fn connect(&mut self) -> Option<Link> {
        self.unless_closed(sleep_until(self.backoff.not_before)).await?;
        self.backoff.begin(Instant::now());
        // Boxed, since it is large, and would be part of the task six times.
        let mut opened = self.unless_closed(Box::pin(Link::open(self.address, self.known))).await?;
        if let Ok(link) = &mut opened
            && let Err(error) = self.probe(link).await
        {
            opened = Err(error);
        }
        match opened {
            Ok(link) => Some(link),
            Err(error) => {
                self.report(&error);
                self.registry.refuse(&Unavailable::new(self.server, Some(error)));
                None
            }
        }
    }

    /// Warns once for all failed attempts in a row.
    fn report(&self, error: &LinkError) {
        let server = &**self.server;
        if self.backoff.failures == 1 {
            tracing::warn!(server, %error, "cannot probe the database server; trying again while calls wait");
        } else {
            tracing::debug!(server, %error, "still cannot probe the database server");
        }
    }

    /// Sends probes when they are due, until the connection is lost or the tracker is closed.
    async fn follow(&mut self, link: &mut Link) -> LinkEnd {
        loop {
            let due = match self.registry.agenda() {
                Agenda::Close => return LinkEnd::Closed,
                Agenda::Rest => None,
                Agenda::Probe => {
                    let now = Instant::now();
                    Some(self.cadence.next(Front { since: now, is_new: true }, now))
                }
                Agenda::Wait(front) => Some(self.cadence.next(front, Instant::now())),
            };
            let outcome = match due {
                Some(NextProbe::Now) => self.probe(link).await,
                Some(NextProbe::At(instant)) => self.rest(link, sleep_until(instant)).await,
                None => self.rest(link, std::future::pending()).await,
            };
            if let Err(error) = outcome {
                return LinkEnd::Lost(error);
            }
        }
    }

    /// Does nothing until `time` is over, the agenda changes or the connection is lost.
    async fn rest(&self, link: &mut Link, time: impl Future<Output = ()>) -> Result<(), LinkError> {
        tokio::select! {
            () = time => Ok(()),
            () = self.registry.changed() => Ok(()),
            error = link.lost() => Err(error),
        }
    }

    async fn probe(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let (number, wanted) = self.registry.begin_probe(link.system());
        let began = Instant::now();
        let found = link.probe(&wanted).await?;
        if !self.known.is(link.server()) {
            return Err(LinkError::Replaced);
        }
        self.backoff.succeeded();
        self.cadence.probed(began, Instant::now());
        // Published first, so that an answered caller finds at least this state there.
        self.publish(found.state);
        if let Some(since) = self.registry.answer(number, &found) {
            self.cadence.reached(since);
        }
        Ok(())
    }

    fn publish(&mut self, state: ServerState) {
        self.state.send_replace(Some(state));
        let (server, ServerState { role, position, .. }) = (&**self.server, state);
        match self.role.replace(role) {
            None => tracing::info!(server, %role, %position, "database server found"),
            Some(before) if before != role => {
                tracing::info!(server, %role, %before, %position, "database server changed role");
            }
            Some(_) => {}
        }
    }

    /// Forgets the server's state: after a restart the server may be behind where it was.
    fn lose(&self, error: &LinkError) {
        tracing::info!(server = &**self.server, %error, "connection to database server lost");
        self.state.send_replace(None);
        self.registry.forget_shown();
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        unless_closed(self.registry, work).await
    }
}

/// Returns the output of `work`, or `None` if the tracker is closed before.
async fn unless_closed<T>(registry: &Registry, work: impl Future<Output = T>) -> Option<T> {
    let closed = async {
        while !matches!(registry.agenda(), Agenda::Close) {
            registry.changed().await;
        }
    };
    tokio::select! {
        done = work => Some(done),
        () = closed => None,
    }
}

/// The pauses between attempts to connect.
#[derive(Debug)]
struct Backoff {
    /// Attempts in a row that have brought no answer, including the one under way.
    failures: u32,
    not_before: Instant,
}

impl Backoff {
    fn begin(&mut self, now: Instant) {
        let doubled = 2u32.saturating_pow(self.failures);
        self.not_before = now + MIN_BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Closes the registry when the task ends, in whatever way.
pub(super) struct CloseOnDrop(pub(super) Arc<Registry>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn own_options(config: &mut Config) {
    config
        .application_name(APPLICATION_NAME)
        .target_session_attrs(TargetSessionAttrs::Any)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE)
        .keepalives_retries(KEEPALIVE_RETRIES);
}

/// The name of the connection in `pg_stat_activity`.
const APPLICATION_NAME: &str = "homing-tracker";

/// With these, a host that vanished is noticed within 20 s even if the tracker is idle. A server that takes longer than
/// that to restart is not taken for the old one.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// The pause between two attempts to connect while calls wait. It doubles from the shortest to the longest.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The pause after a panic, so that a bug that comes back does not take a core.
const RESTART_DELAY: Duration = Duration::from_secs(1);
