//! The identity of this node, as its requests show it.

use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};

use crate::metadata::{HOMING_PROTOCOL, HOMING_REGION};
use crate::region::Region;
use crate::secret::Secret;

/// The identity of this node in the metadata of each request: protocol version, region and credential.
#[derive(Debug)]
pub(crate) struct Identity {
    protocol: HeaderValue,
    region: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Identity {
    pub(crate) fn new(region: &Region, secret: Option<&Secret>) -> Self {
        Self {
            protocol: HeaderValue::from(homing_proto::PROTOCOL_VERSION),
            region: HeaderValue::from_str(region.as_str()).expect("a DNS label is a header value"),
            authorization: secret.map(Secret::bearer),
        }
    }

    pub(crate) fn add_to(&self, headers: &mut http::HeaderMap) {
        headers.insert(HOMING_PROTOCOL, self.protocol.clone());
        headers.insert(HOMING_REGION, self.region.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(SOFTWARE));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
    }
}

const SOFTWARE: &str = concat!("homing/", env!("CARGO_PKG_VERSION"));
