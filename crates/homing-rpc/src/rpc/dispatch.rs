//! Sends one request to a region, to as many of its peers as necessary.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, Instant};
use tonic::{Response, Status};
use tracing::{Span, debug, info, warn};

use crate::error::reason::Reason;
use crate::error::{Error, Result};
use crate::metadata::cluster::Cluster;
use crate::metadata::trace::TraceContext;
use crate::peer::backoff::Backoff;
use crate::peer::channel::{Link, PeerChannel};
use crate::peer::connection::MAX_STREAMS;
use crate::peer::fate::Fate;
use crate::peer::name::PeerName;
use crate::peer::pick::{PickRequest, WaitFor};
use crate::peer::queue::Full;
use crate::peer::rotation::Change;
use crate::peer::set::PeerSet;
use crate::rpc::failures::Failures;
use crate::rpc::retry::{Failure, Retry};

/// How to send a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dispatch {
    /// The time at which the caller gives up.
    pub deadline: Instant,
    /// After which failures the request is sent again. Default: [`Retry::NotProcessed`].
    pub retry: Retry,
    /// The trace to which the request belongs. Default: the trace of the running function or scope, or else a new one.
    pub trace: Option<TraceContext>,
    /// The name of the request in spans and errors. Default: `request`.
    pub operation: Cow<'static, str>,
    /// The only peer that may get the request. Default: none; any peer of the region may.
    pub peer: Option<PeerName>,
    /// Whether the answer is a stream. A connection has room for 256 streams at a time, so that streams that are not read
    /// do not hold up other requests; further ones wait until the deadline. Default: `false`, for an answer that is a
    /// single message.
    pub is_stream: bool,
    /// If the answer is a stream: the deadline of the whole stream, which is sent to the peer. `deadline` is then the
    /// deadline of the stream's beginning. Default: none; the peer gets `deadline`.
    pub stream_deadline: Option<Instant>,
    /// The cluster that the request expects behind the peer. Default: none; the peer does not compare.
    pub cluster: Option<Cluster>,
}

impl Dispatch {
    /// Returns the settings of a request with this deadline.
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            retry: Retry::NotProcessed,
            trace: None,
            operation: Cow::Borrowed("request"),
            peer: None,
            is_stream: false,
            stream_deadline: None,
            cluster: None,
        }
    }

    /// Sets after which failures the request is sent again.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Sets the trace to which the request belongs.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// Sets the name of the request in spans and errors.
    #[must_use]
    pub fn with_operation(self, operation: impl Into<Cow<'static, str>>) -> Self {
        Self { operation: operation.into(), ..self }
    }

    /// Sets the only peer that may get the request.
    #[must_use]
    pub fn with_peer(self, peer: PeerName) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Sets the cluster that the request expects behind the peer.
    #[must_use]
    pub fn with_cluster(self, cluster: impl Into<Option<Cluster>>) -> Self {
        Self { cluster: cluster.into(), ..self }
    }

    /// Says that the answer is a stream.
    #[must_use]
    pub fn with_stream(self) -> Self {
        Self { is_stream: true, ..self }
    }

    /// Says that the answer is a stream, and sets the deadline of the whole stream.
    #[must_use]
    pub fn with_stream_deadline(self, deadline: Instant) -> Self {
        Self { is_stream: true, stream_deadline: Some(deadline), ..self }
    }

    pub(crate) fn trace(&self) -> TraceContext {
        let outer = self.trace.clone().or_else(TraceContext::current);
        outer.map_or_else(TraceContext::root, |outer| outer.child())
    }
}

/// The answer to a request, and how the request went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dispatched<T> {
    /// The answer.
    pub response: T,
    /// The peer that answered.
    pub peer: PeerName,
    /// How many attempts were made, including the last one.
    pub attempts: u32,
    /// The stage before the last attempt was sent: choosing a peer, and earlier attempts.
    pub route: Duration,
    /// The stage from then to the answer.
    pub forward: Duration,
}

/// The attempts of one dispatch.
pub(crate) struct Attempts<'a> {
    peers: &'a PeerSet,
    dispatch: &'a Dispatch,
    /// See [`PickRequest::patience`].
    patience: Duration,
    /// Since when no database of the region could be reached.
    no_database_since: Option<Instant>,
    trace: TraceContext,
    tried: Vec<SocketAddr>,
    failures: Failures<Error>,
    backoff: Backoff,
}

/// The outcome of one attempt.
enum Outcome<T> {
    Answer(Response<T>),
    Final(Error),
    Again(Error, WaitFor),
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(peers: &'a PeerSet, dispatch: &'a Dispatch, trace: TraceContext) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        let limit = dispatch.deadline.saturating_duration_since(Instant::now());
        let patience = limit.mul_f64(PATIENCE);
        let (tried, failures, no_database_since) = Default::default();
        Self { peers, dispatch, patience, no_database_since, trace, tried, failures, backoff }
    }

    pub(crate) async fn run<T, F, Fut>(mut self, send: F) -> Result<Dispatched<T>>
    where
        F: Fn(PeerChannel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let began = Instant::now();
        let (mut wait_for, mut attempts, mut failures) = (WaitFor::AnyPeer, 0, 0);
        self.peers.begin();
        while failures < MAX_FAILURES {
            let link = match self.next(wait_for).await {
                Ok(link) => link,
                Err(error) => return Err(self.failures.last_or(error)),
            };
            attempts += 1;
            Span::current().record("peer", tracing::field::display(link.name.address)).record("attempt", attempts);
            let sent = Instant::now();
            match self.attempt(&link, &send).await {
                Outcome::Answer(response) => {
                    return Ok(Dispatched {
                        response: response.into_inner(),
                        peer: link.name.clone(),
                        attempts,
                        route: sent - began,
                        forward: sent.elapsed(),
                    });
                }
                Outcome::Final(error) => return Err(self.failures.with(error)),
                Outcome::Again(error, next) => {
                    debug!(peer = %link.name, %error, "attempt failed, trying again");
                    self.note(&link.name, error);
                    wait_for = next;
                    // Waiting for room has the deadline as its limit.
                    failures += u32::from(next != WaitFor::Room);
                }
            }
        }
        Err(self.failures.last_or(Error::not_sent("no attempt was made")))
    }

    fn note(&mut self, peer: &PeerName, error: Error) {
        self.tried.push(peer.address);
        let fate = if error.is_outcome_unknown() { Fate::Unknown } else { Fate::NotExecuted };
        self.failures.note(fate, error);
    }

    /// Returns the connection for the next attempt.
    async fn next(&mut self, wait_for: WaitFor) -> Result<Arc<Link>> {
        match (self.pick(wait_for).await, wait_for) {
            (Ok(link), WaitFor::Room) if self.peers.may_retry() => Ok(link),
            (_, WaitFor::Room) => {
                self.wait_for_room().await?;
                self.pick(WaitFor::AnyPeer).await
            }
            (Err(error), WaitFor::Database) => match self.no_database_since {
                Some(since) if since + self.patience > Instant::now() => self.pick(WaitFor::AnyPeer).await,
                _ => Err(error),
            },
            (picked, _) => picked,
        }
    }

    async fn wait_for_room(&mut self) -> Result<()> {
        let hint = self.failures.last_known().and_then(Error::retry_after).unwrap_or_default();
        let pause = hint + self.backoff.next(&mut rand::rng());
        let waited = self.peers.queue().wait(pause, self.dispatch.deadline).await;
        waited.map_err(|Full| Error::not_sent("too many requests wait for room"))?;
        self.tried.clear();
        Ok(())
    }

    async fn pick(&mut self, wait_for: WaitFor) -> Result<Arc<Link>> {
        let passed_over = self.peers.passed_over();
        let (patience, began) = (self.patience, Instant::now());
        let peer = self.dispatch.peer.as_ref().map(|peer| peer.address);
        let request = PickRequest { began, patience, peer, tried: &self.tried, wait_for, passed_over: &passed_over };
        let link = self.peers.pick(&request, self.dispatch.deadline).await?;
        let deadline = self.dispatch.deadline;
        if self.tried.contains(&link.name.address) {
            let pause = self.backoff.next(&mut rand::rng());
            time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
        if deadline <= Instant::now() { Err(self.too_late_to_send(&link.name)) } else { Ok(link) }
    }

    async fn attempt<T, F, Fut>(&mut self, link: &Arc<Link>, send: &F) -> Outcome<T>
    where
        F: Fn(PeerChannel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.dispatch.deadline;
        let channel = match self.channel(link).await {
            Ok(channel) => channel,
            Err(error) => return Outcome::Final(error),
        };
        let _in_flight = link.load.begin();
        let began = Instant::now();
        let answer = time::timeout_at(deadline, send(channel.clone()));
        let answer = tokio::select! {
            answer = answer => answer,
            () = self.peers.replacement(link, &self.tried), if self.dispatch.retry == Retry::Always => {
                link.load.observe_silence(Instant::now(), began.elapsed());
                return Outcome::Again(self.silent(&link.name), WaitFor::AnyPeer);
            }
        };
        match answer {
            Ok(Ok(response)) => {
                link.load.observe(Instant::now(), began.elapsed());
                self.peers.queue().answered();
                self.peers.note_database(true);
                if let Some(Change::Returned) = link.load.succeeded() {
                    info!(peer = %link.name, "peer takes calls again");
                }
                Outcome::Answer(response)
            }
            Ok(Err(status)) => self.failed(link, status, began.elapsed()),
            Err(_) => {
                // The peer is at least this slow.
                link.load.observe_silence(Instant::now(), began.elapsed());
                let error = self.too_late(&link.name, &channel);
                Outcome::Final(self.out_of_time(error))
            }
        }
    }

    /// Returns the channel for an attempt. A stream waits for a place on the connection.
    async fn channel(&self, link: &Arc<Link>) -> Result<PeerChannel> {
        let Dispatch { deadline, is_stream, stream_deadline, cluster, .. } = *self.dispatch;
        let told = Some(stream_deadline.unwrap_or(deadline));
        let trace = Some(self.trace.clone());
        if !is_stream {
            return Ok(PeerChannel::new(Arc::clone(link), told, trace).expecting(cluster));
        }
        match time::timeout_at(deadline, Arc::clone(&link.streams).acquire_owned()).await {
            Ok(Ok(place)) => Ok(PeerChannel::for_stream(Arc::clone(link), told, trace, place).expecting(cluster)),
            _ => Err(Error::refused(
                Reason::Overloaded,
                None,
                format!(
                    "{}: {MAX_STREAMS} streams from {} are open, the limit, and none ended within the time limit; read \
                     or drop some of them",
                    self.dispatch.operation, link.name
                ),
            )),
        }
    }

    fn failed<T>(&mut self, link: &Link, status: Status, elapsed: Duration) -> Outcome<T> {
        let (peer, kind) = (&link.name, Failure::of(&status));
        if Reason::is_settled(&status) {
            self.failures.settled();
        }
        if kind == Failure::Refused(Reason::NotPrimary) {
            self.peers.pass_over(peer.address);
        }
        if kind == Failure::Refused(Reason::DatabaseUnavailable) {
            self.no_database_since = self.peers.note_database(false);
        }
        if kind == Failure::TimedOut {
            // The peer is at least this slow.
            link.load.observe(Instant::now(), elapsed);
        }
        if kind.counts_against_peer()
            && let Some(Change::Left) = link.load.failed(Instant::now())
        {
            warn!(peer = %peer, status = status.message(), "peer failed several calls in a row; others are preferred");
        }
        let mut wait_for = self.dispatch.retry.after(kind);
        if kind.may_come_from_load() {
            self.peers.queue().answered();
            wait_for = wait_for.filter(|_| self.peers.may_retry());
        }
        let mut error = failure(&self.dispatch.operation, peer, status);
        if kind == Failure::TimedOut {
            error = self.out_of_time(error);
        }
        match wait_for {
            Some(wait_for) if Instant::now() < self.dispatch.deadline => Outcome::Again(error, wait_for),
            _ => Outcome::Final(error),
        }
    }

    fn silent(&self, peer: &PeerName) -> Error {
        let operation = &self.dispatch.operation;
        Error::outcome_unknown(format!("{operation}: {peer} is silent; it may have been executed"))
    }

    /// Returns the error of a request whose time is over. If peers had no room before, that is why, and the error says so.
    fn out_of_time(&mut self, error: Error) -> Error {
        match self.failures.take_known_if(|failure| failure.is_overloaded()) {
            Some(full) if error.is_outcome_unknown() => error.with_source(full),
            Some(full) => full,
            None => error,
        }
    }

    fn too_late(&self, peer: &PeerName, channel: &PeerChannel) -> Error {
        let operation = &self.dispatch.operation;
        if channel.has_sent() {
            Error::outcome_unknown(format!(
                "{operation}: no answer from {peer} within the time limit; it may have been executed, so check before \
                 sending it again"
            ))
        } else {
            self.too_late_to_send(peer)
        }
    }

    fn too_late_to_send(&self, peer: &PeerName) -> Error {
        let operation = &self.dispatch.operation;
        Error::not_sent(format!("{operation}: the time limit was over before it was sent to {peer}"))
    }
}

/// Returns the error for a status that ended a request.
pub(crate) fn failure(operation: &str, peer: &PeerName, status: Status) -> Error {
    if let Some(reason) = Reason::of(&status) {
        let message = format!("{operation}: {peer} refused it, {reason}: {}", status.message());
        return Error::refused(reason, Reason::retry_after(&status), message);
    }
    match Fate::of(&status) {
        Fate::NotExecuted => {
            Error::not_sent(format!("{operation}: {peer} did not take it: {}", status.message())).with_source(status)
        }
        Fate::Unknown => Error::outcome_unknown(format!(
            "{operation}: no usable answer from {peer}: {}; it may have been executed, so check before sending \
             it again",
            status.message()
        ))
        .with_source(status),
    }
}

/// The part of its time limit for which a request waits while no peer is up, or no peer reaches its database. The rest is
/// for what the caller does instead, such as to ask a replica.
const PATIENCE: f64 = 0.8;

/// How many attempts of a request may fail; then it fails with its last error. Each attempt goes to another peer if there
/// is one, and a region in which so many peers fail has other problems.
const MAX_FAILURES: u32 = 16;

/// The delays before a peer is tried again: the first and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);
