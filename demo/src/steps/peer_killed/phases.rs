//! The outcomes of the calls, by the time at which they ran.

use std::time::Duration;

use tokio::time::Instant;

use super::writers::Attempt;
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::scene::Place;
use crate::scene::directory::Outcome;

/// The calls of a phase.
#[derive(Debug, Default)]
pub(super) struct Calls(pub(super) Vec<Attempt>);

impl Calls {
    pub(super) fn done(&self) -> usize {
        self.0.iter().filter(|attempt| attempt.peer().is_some()).count()
    }

    pub(super) fn all_done(&self) -> bool {
        !self.0.is_empty() && self.done() == self.0.len()
    }

    pub(super) fn failed(&self, wanted: &str) -> usize {
        self.0
            .iter()
            .filter(|attempt| matches!(&attempt.outcome, Outcome::Failed { fate, .. } if fate == wanted))
            .count()
    }

    pub(super) fn peers(&self) -> Vec<String> {
        let mut peers: Vec<_> = self.0.iter().filter_map(Attempt::peer).map(ToOwned::to_owned).collect();
        peers.sort();
        peers.dedup();
        peers
    }

    pub(super) fn times(&self) -> Samples {
        self.0.iter().map(|attempt| (attempt.ended - attempt.started).as_secs_f64() * 1_000.0).collect()
    }

    pub(super) fn failures(&self) -> String {
        let failures = self.0.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Failed { fate, error } => Some(format!("{fate}: {error}")),
            Outcome::Done(_) => None,
        });
        let mut failures: Vec<_> = failures.collect();
        failures.dedup();
        if failures.is_empty() { "there were no failures".to_owned() } else { failures.join("; ") }
    }
}

/// The calls by the time at which they ran.
#[derive(Debug, Default)]
pub(super) struct Phases {
    pub(super) calm: Calls,
    pub(super) under_way: Calls,
    pub(super) later: Calls,
}

impl Phases {
    pub(super) fn of(attempts: Vec<Attempt>, killed_at: Instant, place: &Place) -> Self {
        let mut phases = Self::default();
        for attempt in attempts {
            let phase = if attempt.ended < killed_at {
                &mut phases.calm
            } else if attempt.started < killed_at + notice(place) {
                &mut phases.under_way
            } else {
                &mut phases.later
            };
            phase.0.push(attempt);
        }
        phases
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Attempt> {
        [&self.calm, &self.under_way, &self.later].into_iter().flat_map(|calls| &calls.0)
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["calls", "all", "done", "outcome unknown", "not sent", "rejected", "slowest"]);
        for (name, calls) in [("before", &self.calm), ("under way", &self.under_way), ("later", &self.later)] {
            table.row([
                name.to_owned(),
                calls.0.len().to_string(),
                calls.done().to_string(),
                calls.failed("outcome unknown").to_string(),
                calls.failed("not sent").to_string(),
                calls.failed("rejected").to_string(),
                milliseconds(calls.times().max()),
            ]);
        }
        table
    }
}

/// Returns how long a region may take to notice that a node in the primary region died: half a round trip, and a moment.
pub(super) fn notice(place: &Place) -> Duration {
    place.round_trip / 2 + Duration::from_millis(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_belong_to_phases() {
        let place = Place::replica("syd", Duration::from_millis(200));
        let begin = Instant::now();
        let killed_at = begin + Duration::from_millis(1_000);
        let attempt = |name: &str, started, ended| Attempt {
            name: name.to_owned(),
            started: begin + Duration::from_millis(started),
            ended: begin + Duration::from_millis(ended),
            outcome: Outcome::Failed { fate: "outcome unknown".to_owned(), error: "lost".to_owned() },
        };
        let attempts = vec![
            attempt("before", 700, 900),
            attempt("across", 900, 1_100),
            attempt("unaware", 1_150, 1_350),
            attempt("aware", 1_250, 1_450),
        ];
        let phases = Phases::of(attempts, killed_at, &place);
        let names = |calls: &Calls| calls.0.iter().map(|attempt| attempt.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&phases.calm), ["before"]);
        assert_eq!(names(&phases.under_way), ["across", "unaware"]);
        assert_eq!(names(&phases.later), ["aware"]);
        assert_eq!(phases.under_way.failed("outcome unknown"), 2);
        assert!(!phases.later.all_done());
    }
}
