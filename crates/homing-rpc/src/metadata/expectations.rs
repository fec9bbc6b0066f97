//! [`Expectations`], what the caller of a function expects of the databases behind it.

use homing_proto::v1::Position;

use crate::metadata::cluster::Cluster;
use crate::metadata::key::CallKey;

/// What the caller of a function expects of the node that runs it and of its databases. A node whose databases are others
/// refuses the call before the function runs; see [`Positions::check`](crate::Positions::check).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations {
    /// The positions that the databases have to have in their histories.
    pub session: Vec<Position>,
    /// The cluster of the database that the scope of the call names. `None` if the caller does not know it.
    pub cluster: Option<Cluster>,
    /// The key of the call. Only functions that [take a key](crate::Function::takes_key) get it.
    pub key: Option<CallKey>,
}

impl Expectations {
    /// Returns whether there is nothing to check.
    pub(crate) fn is_empty(&self) -> bool {
        self.session.is_empty() && self.cluster.is_none()
    }
}
