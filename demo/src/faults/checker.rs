//! Judges a run: compares what the callers were told and what they read with what is stored in the end. Pure.

mod balances;
pub(super) mod history;
pub(super) mod reads;
pub(super) mod stall;
pub(super) mod stored;
#[cfg(test)]
mod testing;
pub(super) mod violation;
pub(super) mod writes;

use self::history::History;
use self::stall::Outage;
use self::stored::Stored;
use self::violation::Violation;

/// Returns everything that breaks a promise, and nothing else.
///
/// `outages` are the times in which a region cannot reach the primary.
pub(super) fn judge(history: &History, stored: &Stored, outages: &[Outage]) -> Vec<Violation> {
    let mut violations = writes::judge(history, stored, outages);
    violations.extend(reads::judge(history, stored));
    violations.extend(balances::judge(history, stored));
    violations
}
