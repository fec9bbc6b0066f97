//! Metrics, through the `metrics` facade: the recorder that the application has installed gets them.

use std::time::Duration;

use homing::report::{AnsweredBy, Report};
#[cfg(feature = "prometheus")]
use homing::rpc::Refusals;
use homing::{Fate, Region, Repo};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Returns a handle whose calls are counted and timed in the metrics.
///
/// A [`SessionLayer`](crate::SessionLayer) does this for the handles of its requests. This is for all others, for
/// example those of background jobs.
#[must_use]
pub fn metered(repo: &Repo) -> Repo {
    let here = repo.region().clone();
    repo.with_added_observer(move |report| call(&here, report))
}

/// The result of a health check, for the gauges.
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
        "Duration of a stage of an answered call, without the stages that it did not go through"
    );
    describe_histogram!(CALL, seconds, "Duration of an answered call");
    describe_counter!(CALLS, "Calls, by outcome");
    describe_counter!(ATTEMPTS, "Peers to which answered calls were sent, including failed attempts");
    describe_counter!(REQUESTS, "HTTP requests, by the state of their token");
    describe_counter!(TOKENS, "Responses whose session had moved, by whether they could carry the token");
    describe_counter!(REPLAYS, "HTTP requests that were answered with fly-replay, by reason");
    describe_counter!(REFUSED, "Connections to the port for peers that were refused, by reason");
    describe_gauge!(LAG, seconds, "How far the local database is behind; 0 on a primary");
    describe_gauge!(PRIMARY, "1 if the local database is the primary");
    describe_gauge!(REACHABLE, "1 if this node reaches the primary");
    describe_gauge!(HEALTHY, "1 if this node is fit to answer requests");
}

pub(crate) fn request(token_state: &'static str) {
    counter!(REQUESTS, "token" => token_state).increment(1);
}

pub(crate) fn token(put: bool) {
    counter!(TOKENS, "carried" => if put { "yes" } else { "no" }).increment(1);
}

pub(crate) fn replay(why: &'static str) {
    counter!(REPLAYS, "why" => why).increment(1);
}

#[cfg(feature = "prometheus")]
pub(crate) fn refused(refusals: &Refusals) {
    for (refusal, count) in refusals.counts() {
        counter!(REFUSED, "reason" => refusal.as_str()).absolute(count);
    }
}

pub(crate) fn health(seen: Seen) {
    let number = |yes: bool| if yes { 1.0 } else { 0.0 };
    gauge!(PRIMARY).set(number(seen.is_primary));
    gauge!(REACHABLE).set(number(seen.primary_reachable));
    gauge!(HEALTHY).set(number(seen.is_healthy));
    // An unknown lag must not look like a number of seconds.
    gauge!(LAG).set(seen.lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
}

/// Counts and times a call. The labels have few values: names of methods, fates, `here` or `peer`, regions.
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
const REFUSED: &str = "homing_refused_connections_total";
const LAG: &str = "homing_lag_seconds";
const PRIMARY: &str = "homing_is_primary";
const REACHABLE: &str = "homing_primary_reachable";
const HEALTHY: &str = "homing_healthy";
