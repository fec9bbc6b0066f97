//! Targets of `fuzz/`: what this crate does with bytes of strangers, peers and operators.
//!
//! A target takes any bytes. It panics if the code does, or if what must hold does not.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::FutureExt;
use homing_proto::v1 as proto;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tokio::io::{join, sink};
use tokio::time::Instant;

use crate::discover::environment::discover_from_lookup;
use crate::discover::static_peers::StaticPeers;
use crate::error::reason::Reason;
use crate::function::arguments::Arguments;
use crate::handshake::client::prove;
use crate::handshake::message::Hello;
use crate::handshake::server::{Origin, demand, last_words, without_tls};
use crate::metadata::caller::Caller;
use crate::metadata::trace::TraceContext;
use crate::region::Region;
use crate::secret::Secret;
use crate::topology::Topology;

static SECRET: LazyLock<Secret> = LazyLock::new(|| Secret::new("0123456789abcdef0123456789abcdef").expect("a secret"));

/// Answers the messages of the handshake. The first byte chooses the side. The server also gets a hello whose offer is valid, up
/// to what the input changes.
pub fn handshake(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => demanded(bytes),
        1 => demanded(&Hello::fuzzed(bytes, &SECRET.texts())),
        2 => {
            let mut stream = join(bytes, sink());
            let proved = prove(&mut stream, [1; 16], &SECRET).now_or_never().expect("all bytes are there");
            assert!(!proved.expect_err("no server of the secret answered").advice().is_empty());
        }
        _ => drop(without_tls(&mut &*bytes).now_or_never().expect("all bytes are there")),
    }
}

fn demanded(bytes: &[u8]) {
    let mut stream = join(bytes, sink());
    let demanded = demand(&mut stream, [2; 16], &SECRET, Origin::Elsewhere);
    let refusal = demanded.now_or_never().expect("all bytes are there").expect_err("there is no proof");
    let _ = last_words(refusal);
}

/// Reads the metadata of a request: lines of a name's number and a value.
pub fn metadata(input: &[u8]) {
    const NAMES: [&str; 8] = [
        "homing-protocol",
        "homing-region",
        "homing-app",
        "homing-cluster",
        "grpc-timeout",
        "traceparent",
        "tracestate",
        "homing-other",
    ];
    let mut headers = HeaderMap::new();
    for line in input.split(|&byte| byte == b'\n') {
        let Some((&name, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let now = Instant::now();
    if let Ok(caller) = Caller::of_headers(&headers, Some("app"), now) {
        assert!(caller.deadline >= now);
        assert_eq!(caller.trace.child().trace_id(), caller.trace.trace_id());
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(trace) = TraceContext::parse(text, None)
    {
        assert_eq!((trace.trace_id().len(), trace.parent_id().len()), (32, 16));
    }
}

/// Reads a call of a function and its arguments, and the answers of a peer.
pub fn calls(input: &[u8]) {
    if let Ok(call) = proto::CallRequest::decode(input) {
        arguments(&call.arguments);
    }
    arguments(&[Bytes::copy_from_slice(input)]);
    let _ = proto::CallResponse::decode(input).map(|response| format!("{response:?}"));
    let _ = proto::DescribeResponse::decode(input).map(|response| format!("{response:?}"));
    let status = tonic::Status::with_details(tonic::Code::Unavailable, "refused", Bytes::copy_from_slice(input));
    let _ = (Reason::of(&status), Reason::retry_after(&status));
}

fn arguments(encoded: &[Bytes]) {
    let arguments = || Arguments::from_encoded(encoded.to_vec());
    let _ = arguments().decode::<()>();
    let _ = arguments().decode::<(String,)>();
    let _ = arguments().decode::<(Vec<u64>,)>();
    let _ = arguments().decode::<(BTreeMap<String, Vec<Option<f64>>>,)>();
    let _ = arguments().decode::<(u32, Option<String>)>();
    let _ = arguments().decode::<(Tree,)>();
}

/// A type that nests.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "it is decoded only")]
struct Tree {
    name: String,
    children: Vec<Self>,
}

/// Reads the settings of discovery: lines of a variable's number and a value.
pub fn discovery(input: &[u8]) {
    const NAMES: [&str; 6] = [
        "HOMING_PEERS",
        "HOMING_PEER_DNS",
        "HOMING_REGIONS",
        "HOMING_DNS_SERVER",
        "HOMING_DNS_TIMEOUT",
        "FLY_APP_NAME",
    ];
    let text = String::from_utf8_lossy(input);
    let mut set = BTreeMap::new();
    for line in text.lines() {
        let mut chars = line.chars();
        if let Some(name) = chars.next() {
            set.insert(NAMES[name as usize % NAMES.len()], chars.as_str().to_owned());
        }
    }
    let region = |name| Region::new(name).expect("a region");
    let topology = Topology::new(region("syd"), region("iad"));
    if let Err(error) = discover_from_lookup(&topology, 4750, &|name| set.get(name).cloned()) {
        assert!(error.is_misuse() && !error.to_string().is_empty(), "{error:?}");
    }
    let _ = text.parse::<StaticPeers>();
    if let Ok(region) = Region::new(&text) {
        assert_eq!(region.as_str(), text);
    }
}

#[cfg(test)]
mod tests {
    use homing_testbed::fuzz;

    fn seeds(target: &str) -> String {
        format!("{}/../../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn handshakes_are_answered_without_panic() {
        fuzz(seeds("handshake"), super::handshake);
    }

    #[test]
    fn metadata_are_read_without_panic() {
        fuzz(seeds("metadata"), super::metadata);
    }

    #[test]
    fn calls_are_read_without_panic() {
        fuzz(seeds("calls"), super::calls);
    }

    #[test]
    fn discovery_is_read_without_panic() {
        fuzz(seeds("discovery"), super::discovery);
    }
}
