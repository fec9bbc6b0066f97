//! What happened a moment ago, kept for the page and told to those who look at it.

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

/// One per node: written by its calls, read by its pages.
#[derive(Debug)]
pub(crate) struct Live {
    /// Names and pieces of the page; `None` ends the streams.
    events: broadcast::Sender<Option<(&'static str, String)>>,
    view: Mutex<View>,
}

/// What the page shows, whoever looks at it: as text, a part of the page. In the rings the last one is first.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "dashboard.html")]
pub struct View {
    /// Where this node is.
    pub region: String,
    /// The primary region.
    pub primary: String,
    /// Writes and failures.
    pub(crate) calls: VecDeque<Call>,
    /// Whether reads were answered here, and not by the primary in another region.
    pub(crate) reads: VecDeque<bool>,
    /// The regions and how they are; `None` where a region did not answer.
    pub(crate) regions: Vec<(String, Option<Standing>)>,
    /// How many milliseconds the replica here was behind.
    pub(crate) lags: VecDeque<i64>,
    /// What can be stopped from outside, and where the other pages are.
    pub outside: Outside,
    /// When the last look began.
    pub(crate) looked: Option<Instant>,
    /// The fastest way to a peer and back.
    pub(crate) round_trip: Option<Duration>,
}

/// A call and its way.
#[derive(Clone, Debug, Template)]
#[template(path = "call.html")]
pub struct Call {
    report: Report,
    /// Where a peer answered.
    round_trip: Option<Duration>,
}

impl Live {
    pub(crate) fn new(topology: &Topology) -> Self {
        let (region, primary) = (topology.region().to_string(), topology.primary_region().to_string());
        let view = Mutex::new(View { region, primary, ..View::default() });
        Self { events: broadcast::Sender::new(EVENTS), view }
    }

    /// Notes a call of this node's.
    pub(crate) fn observe(&self, report: &Report) {
        let mut view = self.view();
        let is_far = report.answered_by.peer().is_some();
        if report.position.is_none() && report.fate.is_none() {
            push(&mut view.reads, !is_far, READS);
            return self.tell("read", if is_far { "primary" } else { "here" }.to_owned());
        }
        if is_far {
            let fastest = view.round_trip.map_or(report.stages.forward, |known| known.min(report.stages.forward));
            view.round_trip = Some(fastest);
        }
        let call = Call { report: report.clone(), round_trip: view.round_trip.filter(|_| is_far) };
        self.tell("call", call.to_string());
        push(&mut view.calls, call, CALLS);
    }

    /// Notes how the regions are. What is outside stays as it was known where nobody has told of it.
    pub(crate) fn looked(&self, began: Instant, regions: Vec<(String, Option<Standing>)>, outside: Option<Outside>) {
        let mut view = self.view();
        (view.regions, view.looked) = (regions, Some(began));
        if let Some(outside) = outside {
            view.outside = outside;
        }
        if let Some(lag) = view.here().and_then(|here| here.lag_ms) {
            push(&mut view.lags, lag, LAGS);
        }
    }

    /// Whether somebody has looked at the regions a moment ago.
    pub(crate) fn is_recent(&self) -> bool {
        self.view().looked.is_some_and(|looked| looked.elapsed() < RECENT)
    }

    pub(crate) fn was_looked_at_since(&self, wanted: Instant) -> bool {
        self.view().looked.is_some_and(|looked| looked >= wanted)
    }

    pub(crate) fn now(&self) -> View {
        self.view().clone()
    }

    /// The same without what pages are told of as it happens.
    pub(crate) fn now_without_calls(&self) -> View {
        View { calls: VecDeque::new(), reads: VecDeque::new(), ..self.now() }
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

    /// How many milliseconds the bar is wide: with room for a round trip.
    fn width(&self) -> f64 {
        let least = self.round_trip.unwrap_or_default().max(Duration::from_millis(4));
        milliseconds(self.report.stages.total().max(least).mul_f64(1.05))
    }

    /// The stages' names, and the milliseconds at which each begins and that it took.
    fn segments(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let mut end = Duration::ZERO;
        self.report.stages.named().into_iter().map(move |(name, took)| {
            end += took;
            (name, milliseconds(end - took), milliseconds(took))
        })
    }
}

/// To the tenth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn push<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    ring.push_front(item);
    ring.truncate(most);
}

/// Enough for some seconds of calls, should a browser be slow.
const EVENTS: usize = 256;

const CALLS: usize = 8;

const READS: usize = 40;

/// Two a second: a minute.
const LAGS: usize = 120;

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
    async fn a_stream_begins_when_it_is_opened_and_ends_when_all_are_closed() {
        let live = live();
        live.tell("now", "before anybody looks".to_owned());
        let stream = live.stream();
        assert_eq!(live.viewers(), 1);
        live.tell("now", "one".to_owned());
        live.tell("now", "two".to_owned());
        live.close();
        live.tell("now", "after the end".to_owned());
        assert_eq!(stream.collect::<Vec<_>>().await.len(), 2);
        assert_eq!(live.viewers(), 0);
    }

    #[tokio::test]
    async fn a_viewer_who_is_too_slow_misses_what_came_first_and_goes_on() {
        let live = live();
        let stream = live.stream();
        for _ in 0..2 * EVENTS {
            live.tell("now", "much".to_owned());
        }
        live.close();
        assert!(stream.collect::<Vec<_>>().await.len() < EVENTS);
    }

    #[test]
    fn lag_is_kept_for_a_minute_and_only_where_it_is_known() {
        let live = live();
        let standing = |lag_ms| Some(Standing { is_primary: false, lag_ms, is_paused: false, position: String::new() });
        assert!(!live.is_recent());
        for lag in 0..2 * LAGS as i64 {
            let regions = vec![("iad".to_owned(), standing(None)), ("syd".to_owned(), standing(Some(lag)))];
            live.looked(Instant::now(), regions, None);
        }
        let before = Instant::now();
        live.looked(before, vec![("syd".to_owned(), None)], None);
        assert!(live.was_looked_at_since(before));
        assert!(!live.was_looked_at_since(before + Duration::from_nanos(1)), "it was begun before that");
        let view = live.now();
        assert_eq!((view.lags.len(), view.lags[0]), (LAGS, 2 * LAGS as i64 - 1));
        assert!(live.is_recent() && view.here().is_none());
    }
}
