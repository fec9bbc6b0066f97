//! [`TrackerTask`], which looks at one server for those who wait.
//!
//! Spawned by [`Tracker::spawn`](super::Tracker::spawn). Owns the connection, the cadence, and the publishing end of the
//! server's state. Ends when the last handle is dropped; where it panics, or its runtime ends, all who wait are told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use super::cadence::{Cadence, NextProbe};
use super::error::Unavailable;
use super::link::{Link, LinkError};
use super::shared::{Agenda, Shared};
use crate::position::role::Role;
use crate::position::state::ServerState;

#[derive(Debug)]
pub(super) struct TrackerTask {
    config: Config,
    server: Arc<str>,
    shared: Arc<Shared>,
    state: watch::Sender<Option<ServerState>>,
    cadence: Cadence,
    backoff: Backoff,
    role: Option<Role>,
}

/// Why the task stopped following a connection.
enum LinkEnd {
    Closed,
    Lost(LinkError),
}

impl TrackerTask {
    pub(super) fn new(
        config: Config,
        server: Arc<str>,
        shared: Arc<Shared>,
        state: watch::Sender<Option<ServerState>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            config: own_config(config),
            server,
            shared,
            state,
            cadence: Cadence::new(now),
            backoff: Backoff { failures: 0, not_before: now },
            role: None,
        }
    }

    pub(super) async fn run(mut self) {
        let _last_words = CloseOnDrop(Arc::clone(&self.shared));
        while self.is_needed().await {
            let Some(mut link) = self.connect().await else { continue };
            match self.follow(&mut link).await {
                LinkEnd::Closed => return link.close().await,
                LinkEnd::Lost(error) => self.lose(&error),
            }
        }
    }

    /// Waits for somebody to come. False when the tracker was closed.
    async fn is_needed(&self) -> bool {
        loop {
            match self.shared.agenda() {
                Agenda::Close => return false,
                Agenda::ProbeAnswer | Agenda::Wait(_) => return true,
                Agenda::Rest => self.shared.changed().await,
            }
        }
    }

    /// One attempt, not too soon after the one before. A connection counts once it has answered.
    async fn connect(&mut self) -> Option<Link> {
        self.unless_closed(sleep_until(self.backoff.not_before)).await?;
        self.backoff.begin(Instant::now());
        let mut opened = self.unless_closed(Link::open(&self.config)).await?;
        if let Ok(link) = &mut opened
            && let Err(error) = self.look(link).await
        {
            opened = Err(error);
        }
        match opened {
            Ok(link) => Some(link),
            Err(error) => {
                self.report(&error);
                self.shared.refuse(&Unavailable::new(&self.server, Some(error)));
                None
            }
        }
    }

    /// Once for all attempts in a row.
    fn report(&self, error: &LinkError) {
        let server = &*self.server;
        if self.backoff.failures == 1 {
            tracing::warn!(server, %error, "database server cannot be asked; trying again while somebody waits");
        } else {
            tracing::debug!(server, %error, "database server still cannot be asked");
        }
    }

    /// Looks when it is time, until the connection is lost or the tracker closed.
    async fn follow(&mut self, link: &mut Link) -> LinkEnd {
        loop {
            let due = match self.shared.agenda() {
                Agenda::Close => return LinkEnd::Closed,
                Agenda::Rest => None,
                Agenda::ProbeAnswer => Some(NextProbe::Now),
                Agenda::Wait(front) => Some(self.cadence.next(front, Instant::now())),
            };
            let outcome = match due {
                Some(NextProbe::Now) => self.look(link).await,
                Some(NextProbe::At(instant)) => self.rest(link, sleep_until(instant)).await,
                None => self.rest(link, std::future::pending()).await,
            };
            if let Err(error) = outcome {
                return LinkEnd::Lost(error);
            }
        }
    }

    /// Does nothing until it is time, the agenda changes or the connection is lost.
    async fn rest(&self, link: &mut Link, time: impl Future<Output = ()>) -> Result<(), LinkError> {
        tokio::select! {
            () = time => Ok(()),
            () = self.shared.changed() => Ok(()),
            error = link.lost() => Err(error),
        }
    }

    async fn look(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let newest_wanted = self.shared.newest_timeline(link.system());
        let number = self.shared.begin_look();
        let began = Instant::now();
        let state = link.look(newest_wanted).await?;
        self.backoff.succeeded();
        self.cadence.looked(began, Instant::now());
        // Published first: who was answered finds at least as much there.
        self.publish(state);
        if let Some(since) = self.shared.answer(number, state) {
            self.cadence.reached(since);
        }
        Ok(())
    }

    fn publish(&mut self, state: ServerState) {
        self.state.send_replace(Some(state));
        let (server, ServerState { role, position, .. }) = (&*self.server, state);
        match self.role.replace(role) {
            None => tracing::info!(server, %role, %position, "database server found"),
            Some(before) if before != role => {
                tracing::info!(server, %role, %before, %position, "database server changed role");
            }
            Some(_) => {}
        }
    }

    /// What was known is void: after a restart the server may be behind where it was.
    fn lose(&self, error: &LinkError) {
        tracing::info!(server = &*self.server, %error, "connection to database server lost");
        self.state.send_replace(None);
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let closed = async {
            while !matches!(self.shared.agenda(), Agenda::Close) {
                self.shared.changed().await;
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = closed => None,
        }
    }
}

/// When to try to connect again.
#[derive(Debug)]
struct Backoff {
    /// Attempts in a row that have brought no answer, with one under way.
    failures: u32,
    not_before: Instant,
}

impl Backoff {
    fn begin(&mut self, now: Instant) {
        let doubled = 2u32.saturating_pow(self.failures);
        self.not_before = now + FIRST_RETRY.saturating_mul(doubled).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Tells all who wait, and all who come, when the task ends, however it does.
pub(super) struct CloseOnDrop(pub(super) Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("tracker of a database server panicked");
        }
        self.0.close();
    }
}

fn own_config(mut config: Config) -> Config {
    config
        .application_name(APPLICATION_NAME)
        .target_session_attrs(TargetSessionAttrs::Any)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE)
        .keepalives_retries(KEEPALIVE_RETRIES);
    config
}

/// How the connection is seen in `pg_stat_activity`.
const APPLICATION_NAME: &str = "homing-tracker";

/// A host that vanished is noticed within 20 s also while nobody waits, before what was known of the server can
/// be taken for what a restarted one is.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// From one attempt to connect to the next while somebody waits: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
