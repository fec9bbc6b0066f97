//! The most recent events, kept for new pages and sent to open ones.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::response::sse;
use homing::Topology;
use homing::report::Report;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

use crate::{Outside, Standing};

/// One per node. Its calls write it, and its pages read it.
#[derive(Debug)]
pub(crate) struct Live {
    /// Pieces of the page with their names. `None` ends the streams.
    events: broadcast::Sender<Option<(&'static str, String)>>,
    view: Mutex<View>,
}

/// What the page shows to every visitor; as text, a part of the page. The rings begin with the latest item.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "dashboard.html")]
pub struct View {
    /// The region of this node.
    pub region: String,
    /// The primary region.
    pub primary: String,
    /// Writes and failures.
    pub(crate) calls: VecDeque<Call>,
    /// Whether reads were answered in this region, and not by the primary in another one.
    pub(crate) reads: VecDeque<bool>,
    /// The regions and their states; `None` if a region did not answer.
    pub(crate) regions: Vec<(String, Option<Standing>)>,
    /// How many milliseconds the local replica was behind.
    pub(crate) lags: VecDeque<i64>,
    /// The links and peers that can be stopped, and the other pages.
    pub outside: Outside,
    /// When the regions were last asked.
    pub(crate) refreshed: Option<Instant>,
    /// The shortest round trip to a peer.
    pub(crate) round_trip: Option<Duration>,
}

/// A call and its stages.
#[derive(Clone, Debug, Template)]
#[template(path = "call.html")]
pub struct Call {
    report: Report,
    /// The peer, if one answered.
    round_trip: Option<Duration>,
}

impl Live {
    pub(crate) fn new(topology: &Topology) -> Self {
        let (region, primary) = (topology.region().to_string(), topology.primary_region().to_string());
        let view = Mutex::new(View { region, primary, ..View::default() });
        Self { events: broadcast::Sender::new(MAX_EVENTS), view }
    }

    /// Adds a call of this node.
    pub(crate) fn observe(&self, report: &Report) {
        let mut view = self.view();
        let is_far = report.answered_by.peer().is_some();
        if !report.wrote && report.fate.is_none() {
            push(&mut view.reads, !is_far, MAX_READS);
            return self.send("read", if is_far { "primary" } else { "here" }.to_owned());
        }
        if is_far {
            let fastest = view.round_trip.map_or(report.stages.forward, |known| known.min(report.stages.forward));
            view.round_trip = Some(fastest);
        }
        let call = Call { report: report.clone(), round_trip: view.round_trip.filter(|_| is_far) };
        self.send("call", call.to_string());
        push(&mut view.calls, call, MAX_CALLS);
    }

    /// Stores the states of the regions. If `outside` is `None`, the last one stays.
    pub(crate) fn refreshed(&self, began: Instant, regions: Vec<(String, Option<Standing>)>, outside: Option<Outside>) {
        let mut view = self.view();
        (view.regions, view.refreshed) = (regions, Some(began));
        if let Some(outside) = outside {
            view.outside = outside;
        }
        if let Some(lag) = view.here().and_then(|here| here.lag_ms) {
            push(&mut view.lags, lag, MAX_LAGS);
        }
    }

    /// Returns whether the regions were asked a moment ago.
    pub(crate) fn is_recent(&self) -> bool {
        self.view().refreshed.is_some_and(|refreshed| refreshed.elapsed() < RECENT)
    }

    pub(crate) fn was_refreshed_since(&self, wanted: Instant) -> bool {
        self.view().refreshed.is_some_and(|refreshed| refreshed >= wanted)
    }

    pub(crate) fn now(&self) -> View {
        self.view().clone()
    }

    /// Returns what the page shows now, without the calls, which pages receive as they happen.
    pub(crate) fn now_without_calls(&self) -> View {
        View { calls: VecDeque::new(), reads: VecDeque::new(), ..self.now() }
    }

    /// Sends a piece of the page to open pages. It must not be empty: browsers drop empty events.
    pub(crate) fn send(&self, name: &'static str, piece: String) {
        let _ = self.events.send(Some((name, piece)));
    }

    pub(crate) fn viewers(&self) -> usize {
        self.events.receiver_count()
    }

    /// Returns a stream of everything that happens from now on. A slow browser misses some events.
    pub(crate) fn stream(&self) -> impl Stream<Item = Result<sse::Event, axum::Error>> + Send + use<> {
        let events = BroadcastStream::new(self.events.subscribe()).filter_map(Result::ok).map_while(|event| event);
        events.map(|(name, piece)| Ok(sse::Event::default().event(name).data(piece)))
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

    fn reads_here(&self) -> usize {
        self.reads.iter().filter(|here| **here).count()
    }
}

impl Call {
    fn total(&self) -> f64 {
        milliseconds(self.report.stages.total())
    }

    fn trip(&self) -> Option<f64> {
        self.round_trip.map(milliseconds)
    }

    /// Returns the width of the bar in milliseconds, with room for a round trip.
    fn width(&self) -> f64 {
        let least = self.round_trip.unwrap_or_default().max(Duration::from_millis(4));
        milliseconds(self.report.stages.total().max(least).mul_f64(1.05))
    }

    /// Returns the name of each stage, the milliseconds at which it begins, and those that it took.
    fn segments(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let mut end = Duration::ZERO;
        self.report.stages.named().into_iter().map(move |(name, took)| {
            end += took;
            (name, milliseconds(end - took), milliseconds(took))
        })
    }
}

/// Rounds to a tenth of a millisecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn push<T>(ring: &mut VecDeque<T>, item: T, max: usize) {
    ring.push_front(item);
    ring.truncate(max);
}

/// Bounds the events that wait for a slow browser: some seconds of calls.
const MAX_EVENTS: usize = 256;

const MAX_CALLS: usize = 8;

const MAX_READS: usize = 40;

/// A minute, with two a second.
const MAX_LAGS: usize = 120;

const RECENT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use homing::Region;

    use super::*;

    fn live() -> Live {
        let region = |name| Region::new(name).expect("a name of a region");
        Live::new(&Topology::new(region("syd"), region("iad")))
    }

    #[tokio::test]
    async fn streams_end_when_closed() {
        let live = live();
        live.send("now", "before a page is open".to_owned());
        let stream = live.stream();
        assert_eq!(live.viewers(), 1);
        live.send("now", "one".to_owned());
        live.send("now", "two".to_owned());
        live.close();
        live.send("now", "after the end".to_owned());
        assert_eq!(stream.collect::<Vec<_>>().await.len(), 2);
        assert_eq!(live.viewers(), 0);
    }

    #[tokio::test]
    async fn slow_viewer_misses_the_first_events() {
        let live = live();
        let stream = live.stream();
        for _ in 0..2 * MAX_EVENTS {
            live.send("now", "much".to_owned());
        }
        live.close();
        assert!(stream.collect::<Vec<_>>().await.len() < MAX_EVENTS);
    }

    #[test]
    fn known_lag_is_kept_a_minute() {
        let live = live();
        let standing = |lag_ms| Some(Standing { is_primary: false, lag_ms, is_paused: false, position: String::new() });
        assert!(!live.is_recent());
        for lag in 0..2 * MAX_LAGS as i64 {
            let regions = vec![("iad".to_owned(), standing(None)), ("syd".to_owned(), standing(Some(lag)))];
            live.refreshed(Instant::now(), regions, None);
        }
        let before = Instant::now();
        live.refreshed(before, vec![("syd".to_owned(), None)], None);
        assert!(live.was_refreshed_since(before));
        assert!(!live.was_refreshed_since(before + Duration::from_nanos(1)), "it began before that");
        let view = live.now();
        assert_eq!((view.lags.len(), view.lags[0]), (MAX_LAGS, 2 * MAX_LAGS as i64 - 1));
        assert!(live.is_recent() && view.here().is_none());
    }
}
