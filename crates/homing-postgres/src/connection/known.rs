//! [`KnownServer`], what the connections to one server have learned of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::position::role::Role;
use crate::position::{SystemIdentifier, Timeline};

/// A server as it reported itself when a connection was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) role: Role,
    pub(crate) system_identifier: SystemIdentifier,
    /// The timeline of a primary, which it keeps for as long as it runs. `None` of a replica.
    pub(crate) timeline: Option<Timeline>,
    /// When the server was started, in microseconds since 1970. It tells one server from another.
    pub(crate) started_at: i64,
    /// Whether its sessions are read-only by default, as those of a replica are.
    pub(crate) is_read_only: bool,
}

/// The last report of a server. It notifies `alarm` if the server may have lost or gained the role of the primary.
#[derive(Debug)]
pub(crate) struct KnownServer {
    /// The lock is held to read or replace the value only.
    report: Mutex<Report>,
    /// Why the last connection could not be opened, as the end of a sentence about the server.
    complaint: Mutex<Option<String>>,
    alarm: Arc<Notify>,
}

/// The last report of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// `None` before the first connection.
    pub(crate) server: Option<Server>,
    pub(crate) heard_at: Option<Instant>,
}

impl KnownServer {
    pub(crate) fn new(alarm: Arc<Notify>) -> Self {
        Self { report: Mutex::default(), complaint: Mutex::default(), alarm }
    }

    pub(crate) fn report(&self) -> Report {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a report. Returns whether the server has changed its role.
    pub(crate) fn note(&self, server: Server) -> bool {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let before = report.server.replace(server);
        report.heard_at = Some(Instant::now());
        drop(report);
        self.complain(None);
        let has_changed = before.is_some_and(|before| before.role != server.role);
        if has_changed {
            self.alarm.notify_one();
        }
        has_changed
    }

    /// Notes why a connection could not be opened.
    pub(super) fn complain(&self, reason: Option<String>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Returns why the last connection could not be opened, as the end of a sentence about the server.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the server does not react, so if it was the primary, it may no longer be.
    pub(crate) fn suspect(&self) {
        if self.report().server.is_none_or(|server| server.role == Role::Primary) {
            self.alarm.notify_one();
        }
    }

    /// Notes that a caller wants the primary, and this server is a replica.
    pub(crate) fn is_wrong(&self) {
        self.alarm.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(role: Role) -> Server {
        let is_read_only = role == Role::Replica;
        Server { role, system_identifier: 7.into(), timeline: None, started_at: 1, is_read_only }
    }

    #[test]
    fn changes_of_role_are_told() {
        let known = KnownServer::new(Arc::default());
        let notes = [Role::Primary, Role::Primary, Role::Replica, Role::Replica].map(|role| known.note(server(role)));
        assert_eq!(notes, [false, false, true, false]);
    }
}
