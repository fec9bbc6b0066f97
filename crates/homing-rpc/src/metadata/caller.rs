//! The sender of a request, and its deadline.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::error::reason::Reason;
use crate::metadata::cluster::Cluster;
use crate::metadata::timeout::MAX_TIME_LIMIT;
use crate::metadata::trace::TraceContext;
use crate::metadata::{GRPC_TIMEOUT, HOMING_APP, HOMING_PROTOCOL, HOMING_REGION, TRACEPARENT, TRACESTATE, timeout};
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
    /// The cluster that the request expects behind this node. `None` if the sender does not know it. Services whose
    /// database is of another one answer with [`Reason::OtherCluster`](crate::Reason::OtherCluster).
    pub cluster: Option<Cluster>,
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
        Self { region, deadline, trace, cluster: None }
    }

    /// Reads the metadata of a request to a `homing.v1` service of a node of the application `app`.
    ///
    /// # Errors
    ///
    /// A status with [`Reason::ProtocolVersion`] if the request uses another protocol, and with [`Reason::OtherApplication`] if
    /// it expects another application.
    pub(crate) fn of_headers(headers: &HeaderMap, app: Option<&str>, now: Instant) -> Result<Self, Status> {
        check_protocol(headers)?;
        check_app(headers, app)?;
        let region = text(headers, &HOMING_REGION).and_then(|region| Region::new(region).ok());
        let Some(region) = region else {
            return Err(Reason::ProtocolVersion.status("the metadata homing-region is missing or is not a region"));
        };
        let timeout = headers.get(GRPC_TIMEOUT).and_then(timeout::decode).unwrap_or(DEFAULT_TIME_LIMIT);
        let trace = text(headers, &TRACEPARENT)
            .and_then(|parent| TraceContext::parse(parent, text(headers, &TRACESTATE)))
            .unwrap_or_else(TraceContext::root);
        let cluster = Cluster::of_headers(headers);
        Ok(Self { region, deadline: now + timeout.min(MAX_TIME_LIMIT), trace, cluster })
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

/// Compares the names of the applications if both nodes have one.
fn check_app(headers: &HeaderMap, ours: Option<&str>) -> Result<(), Status> {
    match (headers.get(HOMING_APP), ours) {
        (Some(theirs), Some(ours)) if theirs.as_bytes() != ours.as_bytes() => {
            let theirs = String::from_utf8_lossy(theirs.as_bytes());
            Err(Reason::OtherApplication.status(format!(
                "this node is one of the application {ours:?}, and the caller expects one of {theirs:?}; correct the \
                 addresses of the peers, or set the same HOMING_APP on all nodes"
            )))
        }
        _ => Ok(()),
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
                ("homing-app", "shop"),
                ("grpc-timeout", "1500m"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ]),
            Some("shop"),
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
        let caller = Caller::of_headers(&headers(&pairs), None, now).unwrap();
        assert_eq!(caller.deadline, now + DEFAULT_TIME_LIMIT);
        let pairs = [("homing-protocol", "2"), ("homing-region", "syd"), ("grpc-timeout", "99999999H")];
        assert_eq!(Caller::of_headers(&headers(&pairs), None, now).unwrap().deadline, now + MAX_TIME_LIMIT);
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
            let status = Caller::of_headers(&headers(pairs), None, Instant::now()).unwrap_err();
            assert_eq!(Reason::of(&status), Some(Reason::ProtocolVersion), "{pairs:?}");
        }
    }

    #[test]
    fn only_another_application_is_turned_away() {
        let read = |theirs: Option<&'static str>, ours| {
            let mut pairs = vec![("homing-protocol", "2"), ("homing-region", "syd")];
            pairs.extend(theirs.map(|theirs| ("homing-app", theirs)));
            Caller::of_headers(&headers(&pairs), ours, Instant::now())
        };
        for (theirs, ours) in [(None, None), (None, Some("shop")), (Some("shop"), None), (Some("shop"), Some("shop"))] {
            read(theirs, ours).unwrap();
        }
        for (theirs, ours) in [("shop", "Shop"), ("shop-staging", "shop"), ("", "shop")] {
            let status = read(Some(theirs), Some(ours)).unwrap_err();
            assert_eq!(Reason::of(&status), Some(Reason::OtherApplication));
            let names = [theirs, ours].map(|name| format!("{name:?}"));
            assert!(names.iter().all(|name| status.message().contains(name)), "{status:?}");
        }
    }

    #[test]
    fn malformed_cluster_is_ignored() {
        for (text, expected) in [("7312394723947239472", Some(7_312_394_723_947_239_472)), ("-1", None), ("x", None)] {
            let pairs = [("homing-protocol", "2"), ("homing-region", "syd"), ("homing-cluster", text)];
            let caller = Caller::of_headers(&headers(&pairs), None, Instant::now()).unwrap();
            assert_eq!(caller.cluster.map(u64::from), expected);
        }
    }
}
