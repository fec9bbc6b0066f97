//! The metadata of a request: its sender, what it expects of the other node, its deadline and its trace.

pub(crate) mod caller;
pub(crate) mod cluster;
pub(crate) mod expectations;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod timeout;
pub(crate) mod trace;

use http::header::HeaderName;

pub(crate) const HOMING_APP: HeaderName = HeaderName::from_static("homing-app");
pub(crate) const HOMING_CLUSTER: HeaderName = HeaderName::from_static("homing-cluster");
pub(crate) const HOMING_PROTOCOL: HeaderName = HeaderName::from_static("homing-protocol");
pub(crate) const HOMING_REGION: HeaderName = HeaderName::from_static("homing-region");
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
