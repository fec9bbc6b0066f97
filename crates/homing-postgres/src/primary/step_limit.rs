//! The time limits of the requests in a stream to the primary.

use std::time::Duration;

use homing_rpc::PeerChannel;
use tokio::time::Instant;

/// Returns how many milliseconds the primary has for a request: those until the deadline, without the time on the way
/// through `channel`. It is at least one, since zero means no limit.
pub(super) fn timeout_millis(channel: Option<&PeerChannel>, deadline: Instant) -> u64 {
    let left = match channel {
        Some(channel) => channel.server_time(deadline),
        None => deadline.saturating_duration_since(Instant::now()),
    };
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The local executor answers at the deadline, or later by the time that the database takes to cancel a statement.
pub(super) const CANCELLATION: Duration = Duration::from_secs(4);
