//! [`Cluster`], the database cluster that a request expects behind the other node.

use std::fmt;

use http::HeaderMap;
use http::header::HeaderValue;

use crate::metadata::HOMING_CLUSTER;

/// The database cluster that a request expects behind the node that gets it, as a number whose meaning is up to the services.
/// It travels as `homing-cluster`. Builds that do not know it do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cluster(u64);

impl Cluster {
    pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get(HOMING_CLUSTER)?.to_str().ok()?.parse().ok().map(Self)
    }

    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(HOMING_CLUSTER, HeaderValue::from(self.0));
    }
}

impl From<u64> for Cluster {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Cluster> for u64 {
    fn from(cluster: Cluster) -> Self {
        cluster.0
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
