//! What happened a moment ago, kept for the page and told to those who look at it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::response::sse;
use futures_util::{Stream, StreamExt, future};
use homing::{AnsweredBy, Error, Report};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use crate::failure::fate;
use crate::watch::Region;

/// One per node: written by its calls, read by its pages.
#[derive(Debug)]
pub(crate) struct Live {
    /// `None` ends the streams.
    events: broadcast::Sender<Option<Event>>,
    past: Mutex<Past>,
}

/// An event's name and data, a piece of the page.
#[derive(Clone, Debug)]
struct Event(&'static str, Arc<str>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Of writes and failures, the last one first.
    pub(crate) calls: VecDeque<Call>,
    /// Of reads, the last one first: by whom they were answered, if not here.
    pub(crate) reads: VecDeque<Option<String>>,
    /// The fastest way to a peer and back.
    pub(crate) round_trip: Option<Duration>,
    /// As they were a moment ago; empty if nobody has looked for a while.
    pub(crate) regions: Vec<Region>,
    /// How many milliseconds the replica here was behind, the last one first.
    pub(crate) lags: VecDeque<u64>,
    looked: Option<Instant>,
    notices: VecDeque<(u64, String)>,
    noticed: u64,
}

/// A call and its way.
#[derive(Clone, Debug, Template)]
#[template(path = "call.html")]
pub(crate) struct Call {
    pub(crate) what: String,
    /// `None` is here.
    pub(crate) peer: Option<String>,
    /// route, forward, execute, replay_wait
    pub(crate) stages: [Duration; 4],
    pub(crate) round_trip: Option<Duration>,
    /// What became of it instead.
    pub(crate) failure: Option<String>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { events: broadcast::Sender::new(EVENTS), past: Mutex::default() }
    }

    /// Notes a call of this node's.
    pub(crate) fn observe(&self, report: &Report) {
        let peer = peer(report);
        let reads = ["get", "get_by", "one", "all", "exists", "count", "query", "query_one", "query_opt"];
        if reads.contains(&report.operation) {
            push(&mut self.past().reads, peer.clone(), READS);
            return self.tell("read", peer.as_deref().unwrap_or("here"));
        }
        let stages = report.stages;
        let mut past = self.past();
        if peer.is_some() {
            past.round_trip = past.round_trip.into_iter().chain([stages.forward]).min();
        }
        let stages = [stages.route, stages.forward, stages.execute, stages.replay_wait];
        let call = Call { what: report.operation.to_owned(), peer, stages, round_trip: past.round_trip, failure: None };
        self.add(past, call);
    }

    /// Notes a call that failed.
    pub(crate) fn failed(&self, what: &str, error: &Error) {
        let past = self.past();
        let failure = Some(fate(error).1.to_owned());
        let call = Call { what: what.to_owned(), peer: None, stages: Default::default(), round_trip: None, failure };
        self.add(past, call);
    }

    fn add(&self, mut past: MutexGuard<'_, Past>, call: Call) {
        let piece = call.render();
        push(&mut past.calls, call, CALLS);
        drop(past);
        // Rendering into a string has nothing to fail with.
        self.tell("call", &piece.unwrap_or_default());
    }

    /// Keeps a sentence for the page that the browser is sent to next.
    pub(crate) fn notice(&self, text: String) -> u64 {
        let mut past = self.past();
        past.noticed += 1;
        let number = past.noticed;
        push(&mut past.notices, (number, text), NOTICES);
        number
    }

    pub(crate) fn noticed(&self, number: u64) -> Option<String> {
        self.past().notices.iter().find(|(known, _)| *known == number).map(|(_, text)| text.clone())
    }

    pub(crate) fn now(&self) -> Past {
        let mut past = self.past().clone();
        if past.looked.is_none_or(|looked| looked.elapsed() > RECENT) {
            past.regions.clear();
        }
        past
    }

    /// Notes how the regions are.
    pub(crate) fn looked(&self, regions: Vec<Region>, here: &str) {
        let mut past = self.past();
        let standing = regions.iter().find(|region| region.name == here).and_then(|region| region.standing.as_ref());
        if let Some(lag) = standing.and_then(|standing| standing.lag_ms) {
            push(&mut past.lags, lag, LAGS);
        }
        past.regions = regions;
        past.looked = Some(Instant::now());
    }

    /// Sends a piece of the page to those who look at it.
    pub(crate) fn tell(&self, name: &'static str, piece: &str) {
        // Nobody looks: nobody has to hear.
        let _ = self.events.send(Some(Event(name, piece.into())));
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
            .map(|Event(name, data)| Ok(sse::Event::default().event(name).data(data)))
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        let _ = self.events.send(None);
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// How many of the last reads were answered here.
    pub(crate) fn read_here(&self) -> usize {
        self.reads.iter().filter(|reader| reader.is_none()).count()
    }
}

impl Call {
    fn total(&self) -> Duration {
        self.stages.iter().sum()
    }

    /// The stages' names and milliseconds, and where each begins.
    fn segments(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let mut begin = 0.0;
        STAGES.into_iter().zip(self.stages).map(move |(name, took)| {
            let took = milliseconds(took);
            begin += took;
            (name, (begin - took).max(0.0), took)
        })
    }

    /// How many milliseconds the bar is wide: with room for a round trip.
    fn width(&self) -> f64 {
        milliseconds(self.total().max(self.round_trip.unwrap_or_default()).max(Duration::from_millis(4)).mul_f64(1.05))
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

const STAGES: [&str; 4] = ["route", "forward", "execute", "replay_wait"];

/// Enough for the fifty signatures of one button, should a browser be slow.
const EVENTS: usize = 256;

const CALLS: usize = 8;

const READS: usize = 40;

/// Two a second: a minute.
const LAGS: usize = 120;

/// What is older is not shown.
const RECENT: Duration = Duration::from_secs(5);

/// A notice is shown by the next request of who caused it.
const NOTICES: usize = 64;
