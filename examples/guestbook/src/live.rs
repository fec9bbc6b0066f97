//! What happened a moment ago, kept for the page and told to those who look at it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::response::sse;
use futures_util::{Stream, StreamExt, future};
use homing::{AnsweredBy, Error, Report};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use crate::control::Outside;
use crate::failure::fate;
use crate::functions::Standing;

/// One per node: written by its calls, read by its pages.
#[derive(Debug)]
pub(crate) struct Live {
    /// Names and pieces of the page; `None` ends the streams.
    events: broadcast::Sender<Option<(&'static str, String)>>,
    view: Mutex<View>,
}

/// What the page shows, whoever looks at it. In the rings the last one is first.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) region: String,
    pub(crate) primary: String,
    /// Writes and failures.
    pub(crate) calls: VecDeque<Call>,
    /// By whom reads were answered, if not here.
    pub(crate) reads: VecDeque<Option<String>>,
    /// The regions and how they are; `None` where a region did not answer.
    pub(crate) regions: Vec<(String, Option<Standing>)>,
    /// How many milliseconds the replica here was behind.
    pub(crate) lags: VecDeque<u64>,
    pub(crate) outside: Outside,
    looked: Option<Instant>,
    /// The fastest way to a peer and back.
    round_trip: Duration,
}

/// A call and its way.
#[derive(Clone, Debug, Template)]
#[template(path = "call.html")]
pub(crate) struct Call {
    what: String,
    /// `None` is here.
    peer: Option<String>,
    /// route, forward, execute, replay_wait
    stages: [Duration; 4],
    round_trip: Duration,
    /// What became of it instead.
    failure: Option<&'static str>,
}

impl Live {
    pub(crate) fn new(region: String, primary: String) -> Self {
        let view = View { region, primary, round_trip: Duration::MAX, ..View::default() };
        Self { events: broadcast::Sender::new(EVENTS), view: Mutex::new(view) }
    }

    /// Notes a call of this node's.
    pub(crate) fn observe(&self, report: &Report) {
        let (peer, stages) = (peer(report), report.stages);
        if ["get", "one", "all", "query", "query_one"].contains(&report.operation) {
            push(&mut self.view().reads, peer.clone(), READS);
            return self.tell("read", peer.unwrap_or_else(|| "here".to_owned()));
        }
        let mut view = self.view();
        if peer.is_some() {
            view.round_trip = view.round_trip.min(stages.forward);
        }
        let stages = [stages.route, stages.forward, stages.execute, stages.replay_wait];
        let round_trip = view.round_trip;
        self.add(view, Call { what: report.operation.to_owned(), peer, stages, round_trip, failure: None });
    }

    /// Notes a call that failed.
    pub(crate) fn failed(&self, what: &str, error: &Error) {
        let (stages, failure) = (Default::default(), Some(fate(error).1));
        self.add(self.view(), Call { what: what.to_owned(), peer: None, stages, round_trip: Duration::MAX, failure });
    }

    fn add(&self, mut view: MutexGuard<'_, View>, call: Call) {
        let piece = call.to_string();
        push(&mut view.calls, call, CALLS);
        drop(view);
        self.tell("call", piece);
    }

    /// Notes how the regions are.
    pub(crate) fn looked(&self, regions: Vec<(String, Option<Standing>)>, outside: Outside) {
        let mut view = self.view();
        (view.regions, view.outside, view.looked) = (regions, outside, Some(Instant::now()));
        if let Some(lag) = view.here().and_then(|here| here.lag_ms) {
            push(&mut view.lags, lag, LAGS);
        }
    }

    /// Whether somebody has looked at the regions a moment ago.
    pub(crate) fn is_recent(&self) -> bool {
        self.view().looked.is_some_and(|looked| looked.elapsed() < RECENT)
    }

    pub(crate) fn now(&self) -> View {
        self.view().clone()
    }

    /// Sends a piece of the page to those who look at it, if any. Not an empty one: browsers drop it.
    pub(crate) fn tell(&self, name: &'static str, piece: String) {
        let _ = self.events.send(Some((name, piece)));
    }

    pub(crate) fn viewers(&self) -> usize {
        self.events.receiver_count()
    }

    /// What happens from now on. A browser too slow to follow misses some of it.
    pub(crate) fn stream(&self) -> impl Stream<Item = Result<sse::Event, axum::Error>> + Send + use<> {
        BroadcastStream::new(self.events.subscribe())
            .filter_map(|event| future::ready(event.ok()))
            .take_while(|event| future::ready(event.is_some()))
            .filter_map(future::ready)
            .map(|(name, piece)| Ok(sse::Event::default().event(name).data(piece)))
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        let _ = self.events.send(None);
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    pub(crate) fn here(&self) -> Option<&Standing> {
        self.regions.iter().find(|(name, _)| *name == self.region)?.1.as_ref()
    }
}

impl Call {
    fn total(&self) -> Duration {
        self.stages.iter().sum()
    }

    /// How many milliseconds the bar is wide: with room for a round trip.
    fn width(&self) -> f64 {
        let trip = if self.peer.is_some() { self.round_trip } else { Duration::ZERO };
        milliseconds(self.total().max(trip).max(Duration::from_millis(4)).mul_f64(1.05))
    }

    /// The stages' names, and the milliseconds at which each begins and ends.
    fn segments(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let names = ["route", "forward", "execute", "replay_wait"];
        let begins = (0..).map(|index| milliseconds(self.stages[..index].iter().sum()));
        names.into_iter().zip(begins).zip(self.stages).map(|((name, begin), took)| (name, begin, milliseconds(took)))
    }
}

/// Who answered, if not this node.
pub(crate) fn peer(report: &Report) -> Option<String> {
    match &report.answered_by {
        AnsweredBy::Peer(peer) => Some(peer.to_string()),
        _ => None,
    }
}

/// To the tenth.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn push<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    ring.push_front(item);
    ring.truncate(most);
}

/// Enough for the fifty signatures of one button, should a browser be slow.
const EVENTS: usize = 256;

const CALLS: usize = 8;

const READS: usize = 40;

/// Two a second: a minute.
const LAGS: usize = 120;

const RECENT: Duration = Duration::from_secs(5);
