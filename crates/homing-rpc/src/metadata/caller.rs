//! The sender of a request, and its deadline.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::error::reason::Reason;
use crate::metadata::timeout::MAX_TIME_LIMIT;
use crate::metadata::trace::TraceContext;
use crate::metadata::{GRPC_TIMEOUT, HOMING_PROTOCOL, HOMING_REGION, TRACEPARENT, TRACESTATE, timeout};
use crate::region::Region;

/// The sender of a request, its deadline and its trace, as the metadata of the request say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Caller {
    /// The region of the sender.
    pub region: Region,
    /// The time by which the answer must have been sent. The server drops the handler two seconds later.
    pub deadline: Instant,
    /// The trace to which the request belongs; a new one if the request contains none.
    pub trace: TraceContext,
}

impl Caller {
    /// Returns the sender of a request to a service of a [`Server`](crate::Server).
    ///
    /// # Errors
    ///
    /// A status with the code `INTERNAL` if the service does not run in a [`Server`](crate::Server).
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("the service does not run in a homing_rpc::Server"))
    }

    pub(crate) fn new(region: Region, deadline: Instant, trace: TraceContext) -> Self {
        Self { region, deadline, trace }
    }

    /// Reads the metadata of a request to a `homing.v1` service.
    ///
    /// # Errors
    ///
    /// A status with [`Reason::ProtocolVersion`] if the request uses another protocol.
    pub(crate) fn of_headers(headers: &HeaderMap, now: Instant) -> Result<Self, Status> {
        check_protocol(headers)?;
        let region = text(headers, &HOMING_REGION).and_then(|region| Region::new(region).ok());
        let Some(region) = region else {
            return Err(Reason::ProtocolVersion.status("the metadata homing-region is missing or is not a region"));
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
            "this node speaks protocol {ours}, the caller {theirs:?}; run builds with the same protocol on both"
        ))),
        None => Err(Reason::ProtocolVersion
            .status(format!("the metadata homing-protocol is missing; this node speaks protocol {ours}"))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The time limit of a request that has none. Homing's own clients always send one.
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(60);

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
                ("homing-protocol", "2"),
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
    async fn malformed_metadata_have_defaults() {
        let now = Instant::now();
        let pairs =
            [("homing-protocol", "2"), ("homing-region", "syd"), ("grpc-timeout", "soon"), ("traceparent", "x")];
        let caller = Caller::of_headers(&headers(&pairs), now).unwrap();
        assert_eq!(caller.deadline, now + DEFAULT_TIME_LIMIT);
        let pairs = [("homing-protocol", "2"), ("homing-region", "syd"), ("grpc-timeout", "99999999H")];
        assert_eq!(Caller::of_headers(&headers(&pairs), now).unwrap().deadline, now + MAX_TIME_LIMIT);
    }

    #[test]
    fn another_protocol_is_turned_away() {
        let table: [&[(&str, &str)]; 5] = [
            &[],
            &[("homing-region", "syd")],
            &[("homing-region", "syd"), ("homing-protocol", "1")],
            &[("homing-region", "syd"), ("homing-protocol", "one")],
            &[("homing-region", "Sydney"), ("homing-protocol", "2")],
        ];
        for pairs in table {
            let status = Caller::of_headers(&headers(pairs), Instant::now()).unwrap_err();
            assert_eq!(Reason::of(&status), Some(Reason::ProtocolVersion), "{pairs:?}");
        }
    }
}
