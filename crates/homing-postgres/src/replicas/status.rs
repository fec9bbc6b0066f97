//! What is known of each replica at one moment.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::Region;

use crate::position::role::Role;

/// What is known of one replica, or of the primary next to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its name: that of its entry in the list, with the address where the entry stands for several.
    pub name: Arc<str>,

    /// Where it is, if that was said.
    pub region: Option<Region>,

    /// The address that its connections lead to.
    pub address: String,

    /// What it was when it was last asked. `None` if it never answered.
    pub role: Option<Role>,

    /// Whether it is read from.
    pub health: Health,

    /// How long a question takes, smoothed. `None` before the first one.
    pub round_trip: Option<Duration>,

    /// How long it is behind, as far as is known.
    pub lag: Option<Duration>,

    /// How many bytes of the log it has still to replay, as far as is known.
    pub lag_bytes: Option<u64>,
}

/// Whether a replica is read from.
///
/// Closed: there is nothing between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers and is not too far behind.
    Up,

    /// It answers, but is further behind than the settings allow: read from only by who asks for it by name.
    TooFarBehind,

    /// It does not answer.
    Down,
}
