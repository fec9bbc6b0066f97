//! [`Search`], when to ask the servers for the primary among them, and [`Seekers`], the calls that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The calls that look for the primary, and what they learn of the search.
#[derive(Debug)]
pub(super) struct Seekers {
    /// Whether one of the servers is expected to be the primary.
    pub(super) expect_primary: bool,
    /// Starts a round of the search. Notified by seekers and by the pools of the servers.
    pub(super) alarm: Arc<Notify>,
    waiting: AtomicUsize,
    progress: watch::Sender<Progress>,
}

/// How far the search is. In a round every server is asked for its role once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The number of the last round that began.
    pub(super) begun: u64,
    /// The number of the last round that ended.
    pub(super) ended: u64,
    pub(super) ended_at: Option<Instant>,
    /// Since when no primary answers.
    pub(super) missing_since: Option<Instant>,
    /// Counts the answers, so that each of them wakes the seekers.
    answers: u64,
}

/// Keeps the search going until it is dropped.
pub(super) struct Seeker<'a>(&'a Seekers);

impl Seekers {
    pub(super) fn new(expect_primary: bool) -> Self {
        Self { expect_primary, alarm: Arc::default(), waiting: AtomicUsize::new(0), progress: watch::Sender::default() }
    }

    /// Keeps the search going until the returned guard is dropped.
    pub(super) fn seek(&self) -> Seeker<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.alarm.notify_one();
        Seeker(self)
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Returns whether a call that began at `began` may stop waiting: a round has failed that began later than the call, or,
    /// if no primary is expected, so short before that the next one would end in the same way. `first` is the round that was
    /// under way when the call began.
    pub(super) fn has_failed(&self, progress: &Progress, first: u64, began: Instant) -> bool {
        let is_recent = !self.expect_primary && progress.ended_at.is_some_and(|at| at + MAX_PAUSE > began);
        progress.missing_since.is_some() && (progress.ended > first || is_recent)
    }

    fn is_sought(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The search of the task. It rests while nobody asks for it.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// When the next round begins; `None` while the search rests.
    due: Option<Instant>,
    ended_at: Option<Instant>,
    /// Rounds in a row that found no primary.
    failures: u32,
    /// The servers that have not answered in this round.
    asked: usize,
}

impl Search {
    /// Returns when the next round begins.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.asked == 0)
    }

    /// Schedules a round, not too soon after the last one.
    pub(super) fn want(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(MAX_PAUSE);
        let due = self.ended_at.map_or(now, |at| now.max(at + pause));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// Begins a round that asks `servers`.
    pub(super) fn begin(&mut self, servers: usize, seekers: &Seekers) {
        (self.due, self.asked) = (None, servers);
        seekers.progress.send_modify(|progress| progress.begun += 1);
    }

    /// Notes that a server answered, or that it did not. `is_found` tells whether a primary is known now.
    pub(super) fn answered(&mut self, is_found: bool, seekers: &Seekers, now: Instant) {
        self.asked = self.asked.saturating_sub(1);
        if self.asked == 0 {
            self.end(is_found, seekers, now);
        } else {
            seekers.progress.send_modify(|progress| progress.answers += 1);
        }
    }

    /// Ends the round.
    pub(super) fn end(&mut self, is_found: bool, seekers: &Seekers, now: Instant) {
        self.failures = if is_found { 0 } else { self.failures.saturating_add(1) };
        self.ended_at = Some(now);
        seekers.progress.send_modify(|progress| {
            // Calls that miss the primary keep the search going. After a longer rest it was there in between.
            let is_same = progress.ended_at.is_some_and(|at| at + MAX_REST > now);
            let since = progress.missing_since.filter(|_| is_same).unwrap_or(now);
            progress.missing_since = (!is_found).then_some(since);
            (progress.ended, progress.ended_at) = (progress.begun, Some(now));
        });
        // A wish from within the round may be older than its answers, so it waits for its pause too.
        if self.due.take().is_some() || !is_found && seekers.is_sought() {
            self.want(now);
        }
    }
}

/// The time between two rounds of the search. It doubles from the first to the longest while no primary is found. A round
/// is a connection to each server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The longest time between the ends of two rounds of one search: a pause, and a server that does not answer.
const MAX_REST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rounds_have_growing_pauses() {
        let (seekers, mut search, mut now) = (Seekers::new(true), Search::default(), Instant::now());
        let mut pauses = Vec::new();
        let _seeker = seekers.seek();
        search.want(now);
        for _ in 0..6 {
            let due = search.due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
            search.begin(1, &seekers);
            search.want(now);
            assert_eq!(search.due(), None, "one round at a time");
            search.answered(false, &seekers, now);
        }
        assert_eq!(pauses, [0, 200, 400, 800, 1000, 1000]);
        search.begin(2, &seekers);
        search.answered(true, &seekers, now);
        search.answered(true, &seekers, now);
        assert_eq!(search.due(), None, "all is well");
        search.want(now);
        assert_eq!(search.due(), Some(now + FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn search_rests_without_seekers() {
        let (seekers, mut search, now) = (Seekers::new(false), Search::default(), Instant::now());
        let seeker = seekers.seek();
        search.want(now);
        search.begin(1, &seekers);
        drop(seeker);
        search.answered(false, &seekers, now);
        assert_eq!(search.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn expected_primary_is_asked_for_again() {
        let now = Instant::now();
        for (expect_primary, is_enough) in [(false, true), (true, false)] {
            let (seekers, mut search) = (Seekers::new(expect_primary), Search::default());
            search.begin(1, &seekers);
            search.answered(false, &seekers, now);
            let progress = *seekers.progress().borrow();
            assert!(seekers.has_failed(&progress, 0, now));
            assert_eq!(seekers.has_failed(&progress, 1, now), is_enough, "a call that began after the round");
            assert!(!seekers.has_failed(&progress, 1, now + 2 * MAX_PAUSE));
        }
    }
}
