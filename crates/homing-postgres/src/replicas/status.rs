//! [`ReplicaStatus`], the last known state of one server.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::Region;

use crate::position::role::Role;

/// The last known state of a replica, or of the primary next to this node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its name. It is the name of its entry in the list, followed by the address if the entry stands for several
    /// servers. The primary next to this node is called `primary`, and the other servers of its connection string have
    /// that name followed by their addresses.
    pub name: Arc<str>,

    /// Its region, if the list names one.
    pub region: Option<Region>,

    /// The address of its connections.
    pub address: String,

    /// Its role when it last answered. `None` if it has never answered, or if another server has taken its place since.
    pub role: Option<Role>,

    /// Whether reads go to it.
    pub health: Health,

    /// The time of a round trip, averaged over the last few. `None` before the first one.
    pub round_trip: Option<Duration>,

    /// How long it is behind. `None` if that is not known.
    pub lag: Option<Duration>,

    /// How many bytes of the log it still has to replay. `None` if that is not known.
    pub lag_bytes: Option<u64>,
}

/// Whether reads go to a replica.
///
/// Closed: these are all the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers and is not too far behind.
    Up,

    /// It answers, but is farther behind than the settings allow. It is left out, except from reads that ask for it by
    /// name or have no other server.
    TooFarBehind,

    /// It does not answer, and is left out.
    Down,
}
