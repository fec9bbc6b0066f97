//! Metrics, through the `metrics` facade: numbers go to whatever recorder the application has installed, or nowhere.

use std::time::Duration;

use homing::report::{AnsweredBy, Report};
use homing::{Fate, Region, Repo};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::session::fly_replay::Why;
use crate::session::request::TokenState;

/// The same handle, whose calls are metered too. The repos of requests are so already; this is for the others, of jobs
/// in the background for example.
#[must_use]
pub fn metered(repo: &Repo) -> Repo {
    let here = repo.region().clone();
    repo.with_added_observer(move |report| call(&here, report))
}

/// What [`Health`](crate::Health) saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) is_primary: bool,
    pub(crate) lag: Option<Duration>,
    pub(crate) primary_reachable: bool,
    pub(crate) is_healthy: bool,
}

pub(crate) fn describe() {
    let seconds = Unit::Seconds;
    describe_histogram!(
        STAGE,
        seconds,
        "What a stage of an answered call took; stages it did not go through are left out"
    );
    describe_histogram!(CALL, seconds, "What an answered call took in all");
    describe_counter!(CALLS, "Calls, by what became of them");
    describe_counter!(ATTEMPTS, "Peers to which answered calls were sent, those that failed included");
    describe_counter!(REQUESTS, "HTTP requests, by what became of their token");
    describe_counter!(TOKENS, "Responses whose session had moved, by whether they could carry the token");
    describe_counter!(REPLAYS, "HTTP requests that were answered by fly-replay, by the reason");
    describe_gauge!(LAG, seconds, "How far the database here is behind; 0 on a primary");
    describe_gauge!(PRIMARY, "1 where the database here is the primary");
    describe_gauge!(REACHABLE, "1 where the primary can be reached from here");
    describe_gauge!(HEALTHY, "1 where the node is fit to answer requests");
}

pub(crate) fn request(token: TokenState) {
    let token = match token {
        TokenState::Absent => "absent",
        TokenState::Taken => "taken",
        TokenState::Refused => "refused",
    };
    counter!(REQUESTS, "token" => token).increment(1);
}

pub(crate) fn token(put: bool) {
    counter!(TOKENS, "carried" => if put { "yes" } else { "no" }).increment(1);
}

pub(crate) fn replay(why: Why) {
    counter!(REPLAYS, "why" => why.as_str()).increment(1);
}

pub(crate) fn health(seen: Seen) {
    let number = |yes: bool| if yes { 1.0 } else { 0.0 };
    gauge!(PRIMARY).set(number(seen.is_primary));
    gauge!(REACHABLE).set(number(seen.primary_reachable));
    gauge!(HEALTHY).set(number(seen.is_healthy));
    // What is not known is no number of seconds.
    gauge!(LAG).set(seen.lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
}

/// The labels are few: names of methods, fates, here or peer, regions.
fn call(here: &Region, report: &Report) {
    let label = |name: &'static str, value: &str| (name, value.to_owned());
    let (answered_by, region) = match &report.answered_by {
        AnsweredBy::Local => ("here", here.as_str()),
        AnsweredBy::Peer(peer) => ("peer", peer.region.as_str()),
        _ => ("nobody", ""),
    };
    let labels = [label("operation", report.operation), label("answered_by", answered_by), label("region", region)];
    let outcome = label("outcome", report.fate.map_or("ok", Fate::as_str));
    counter!(CALLS, &with(outcome, &labels)).increment(1);
    if answered_by == "nobody" {
        return;
    }
    counter!(ATTEMPTS, &labels).increment(report.attempts.into());
    histogram!(CALL, &labels).record(report.stages.total());
    for (stage, took) in report.stages.named() {
        if !took.is_zero() {
            histogram!(STAGE, &with(label("stage", stage), &labels)).record(took);
        }
    }
}

fn with(first: Label, [second, third, fourth]: &[Label; 3]) -> [Label; 4] {
    [first, second.clone(), third.clone(), fourth.clone()]
}

type Label = (&'static str, String);

const STAGE: &str = "homing_stage_seconds";
const CALL: &str = "homing_call_seconds";
const CALLS: &str = "homing_calls_total";
const ATTEMPTS: &str = "homing_attempts_total";
const REQUESTS: &str = "homing_http_requests_total";
const TOKENS: &str = "homing_http_tokens_total";
const REPLAYS: &str = "homing_http_replays_total";
const LAG: &str = "homing_lag_seconds";
const PRIMARY: &str = "homing_is_primary";
const REACHABLE: &str = "homing_primary_reachable";
const HEALTHY: &str = "homing_healthy";
