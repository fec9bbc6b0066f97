//! Who sent a request, and until when.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::error::reason::Reason;
use crate::metadata::trace::TraceContext;
use crate::metadata::{GRPC_TIMEOUT, HOMING_PROTOCOL, HOMING_REGION, TRACEPARENT, TRACESTATE, timeout};
use crate::region::Region;

/// Who sent a request, and until when: what the metadata of every request say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Caller {
    /// Where the request comes from.
    pub region: Region,
    /// When its answer has to be on its way. The server drops a handler a little later.
    pub deadline: Instant,
    /// The trace that it belongs to; a new one where the request has none.
    pub trace: TraceContext,
}

impl Caller {
    /// Who sent a request to a service of a [`Server`](crate::Server).
    ///
    /// # Errors
    ///
    /// An internal error where the request came in by another way.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("the service is not behind a homing_rpc::Server"))
    }

    pub(crate) fn new(region: Region, deadline: Instant, trace: TraceContext) -> Self {
        Self { region, deadline, trace }
    }

    /// Reads the metadata of a request of ours.
    ///
    /// # Errors
    ///
    /// The request speaks another protocol.
    pub(crate) fn of_headers(headers: &HeaderMap, now: Instant) -> Result<Self, Status> {
        check_protocol(headers)?;
        let region = text(headers, &HOMING_REGION).and_then(|region| Region::new(region).ok());
        let Some(region) = region else {
            return Err(Reason::ProtocolVersion.status("the metadata homing-region is missing or is no region"));
        };
        let timeout = headers.get(GRPC_TIMEOUT).and_then(timeout::decode).unwrap_or(DEFAULT_TIME_LIMIT);
        let trace = text(headers, &TRACEPARENT)
            .and_then(|parent| TraceContext::parse(parent, text(headers, &TRACESTATE)))
            .unwrap_or_else(TraceContext::root);
        Ok(Self { region, deadline: now + timeout.min(MAX_TIME_LIMIT), trace })
    }
}

fn check_protocol(headers: &HeaderMap) -> Result<(), Status> {
    let ours = homing_proto::PROTOCOL_VERSION;
    match text(headers, &HOMING_PROTOCOL) {
        Some(theirs) if theirs.parse() == Ok(ours) => Ok(()),
        Some(theirs) => Err(Reason::ProtocolVersion.status(format!(
            "this node speaks protocol {ours} and the caller {theirs:?}; run builds of one protocol on both"
        ))),
        None => Err(Reason::ProtocolVersion
            .status(format!("the metadata homing-protocol is missing; this node speaks protocol {ours}"))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// For a request without a time limit, from a client that is not ours.
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(60);

/// A day: beyond it time stops being a limit, and clocks overflow.
const MAX_TIME_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_metadata_are_read() {
        let now = Instant::now();
        let caller = Caller::of_headers(
            &headers(&[
                ("homing-protocol", "1"),
                ("homing-region", "syd"),
                ("grpc-timeout", "1500m"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ]),
            now,
        )
        .unwrap();
        assert_eq!(caller.region.as_str(), "syd");
        assert_eq!(caller.deadline, now + Duration::from_millis(1500));
        assert_eq!(caller.trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_time_limit_or_trace_is_replaced() {
        let now = Instant::now();
        let pairs =
            [("homing-protocol", "1"), ("homing-region", "syd"), ("grpc-timeout", "soon"), ("traceparent", "x")];
        let caller = Caller::of_headers(&headers(&pairs), now).unwrap();
        assert_eq!(caller.deadline, now + DEFAULT_TIME_LIMIT);
        let pairs = [("homing-protocol", "1"), ("homing-region", "syd"), ("grpc-timeout", "99999999H")];
        assert_eq!(Caller::of_headers(&headers(&pairs), now).unwrap().deadline, now + MAX_TIME_LIMIT);
    }

    #[test]
    fn another_protocol_is_turned_away() {
        let table: [&[(&str, &str)]; 5] = [
            &[],
            &[("homing-region", "syd")],
            &[("homing-region", "syd"), ("homing-protocol", "2")],
            &[("homing-region", "syd"), ("homing-protocol", "one")],
            &[("homing-region", "Sydney"), ("homing-protocol", "1")],
        ];
        for pairs in table {
            let status = Caller::of_headers(&headers(pairs), Instant::now()).unwrap_err();
            assert_eq!(Reason::of(&status), Some(Reason::ProtocolVersion), "{pairs:?}");
        }
    }
}
