//! What PostgreSQL does if this node falls silent while it has a transaction open.
//!
//! A node that hangs (a stopped process, a cut link) does not close its connections. Without a limit its transactions would keep
//! their locks, and all other nodes would wait for them.

use std::time::Duration;

use futures_util::FutureExt;

use crate::connection::pool::Connection;

/// Limits for how long this node may send nothing in the open transaction: PostgreSQL then rolls it back and ends the session. A
/// statement that runs may take longer.
///
/// A node sends the statements of a request one behind the other, and [signs of life](give_sign_of_life) in an interactive
/// transaction. A second is a fraction of a call's usual limit, so that writes which wait for the locks have time left.
/// <https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT>
pub(super) const LIMIT_SILENCE: &str = "SET LOCAL idle_in_transaction_session_timeout = '1s'";

/// How often an interactive transaction that waits for its next request gives a sign of life. Several may be late.
pub(super) const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_millis(200);

/// Limits the silence in a transaction whose BEGIN was sent, without waiting for the answer.
pub(super) fn limit_silence(connection: &Connection) {
    // The driver sends a message when its future is polled for the first time.
    let _ = connection.batch_execute(LIMIT_SILENCE).now_or_never();
}

/// Sends an empty query, without waiting for the answer: PostgreSQL counts the silence from it.
pub(super) fn give_sign_of_life(connection: &Connection) {
    let _ = connection.batch_execute("").now_or_never();
}
