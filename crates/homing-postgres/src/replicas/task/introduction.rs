//! The first answer of a server: what it is, and whether it is known already.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{ReplicaTask, code};
use crate::connection::known::Server;
use crate::database::fault;
use crate::error::function::with_causes;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::replicas::member::Origin;

impl ReplicaTask<'_> {
    pub(super) fn on_introduced(&mut self, id: u64, answer: Result<(Server, Duration)>) {
        let Some(index) = self.servers.iter().position(|server| server.id == id) else { return };
        let number = self.servers[index].entry;
        let is_own = self.entries.iter().any(|entry| entry.number == number && entry.is_own);
        let (server, error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        self.servers[index].introduce(server, is_own, Instant::now());
        self.note_aliases(index);
        self.report_introduction(index, error);
        self.drop_former(number);
        self.changed();
    }

    /// A name may stand for two addresses of one server, as `localhost` does, and a replica of the list may be a server of
    /// the primary's entry. Such a server is used once.
    pub(super) fn note_aliases(&mut self, index: usize) {
        let (number, server) = (self.servers[index].entry, self.servers[index].introduced);
        if server.is_none_or(|server| server.started_at == 0) {
            return;
        }
        let is_primary = self.servers[index].origin == Origin::OwnPrimary;
        let mut is_alias = false;
        for (_, other) in self.servers.iter_mut().enumerate().filter(|(other, _)| *other != index) {
            if other.introduced != server || other.is_alias {
                continue;
            }
            if other.entry == number || other.origin == Origin::OwnPrimary {
                is_alias = true;
            } else if is_primary {
                other.is_alias = true;
            }
        }
        self.servers[index].is_alias = is_alias;
    }

    fn report_introduction(&mut self, index: usize, error: Option<Error>) {
        let server = &self.servers[index];
        let (address, is_primary) = (server.database.pool().address(), server.origin == Origin::OwnPrimary);
        match (server.introduced.map(|server| server.role), error) {
            (Some(_), None) if server.is_alias => {
                info!(%address, "this server is known by another address: using it once")
            }
            (Some(role), None) if is_primary => info!(%address, %role, "connected to the database"),
            (Some(Role::Primary), None) if server.origin == Origin::Local => {
                warn!(%address, "a replica of this region is a primary: writes go straight to it");
            }
            (Some(Role::Primary), None) => {
                warn!(%address, "a listed replica is a primary: reads may go to it, writes go to the primary region");
            }
            (Some(Role::Replica), None) => info!(%address, "connected to a replica"),
            (_, error) => {
                let message = error.as_ref().map(|error| with_causes(error));
                match error.as_ref().and_then(fault) {
                    Some(_) => warn!(%address, error = message, "a database server is left out"),
                    None => {
                        warn!(%address, error = message, "a database server does not answer: leaving it out until it does");
                    }
                }
                if is_primary && error.as_ref().is_some_and(refuses_settings) {
                    self.refusal = self.refusal.take().or(error);
                }
            }
        }
    }
}

/// Returns whether the settings of this node are wrong: PostgreSQL answered and refused the password (class 28) or the name of
/// the database (class 3D), or the address does not lead to one server. A later attempt would fail in the same way.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn refuses_settings(error: &Error) -> bool {
    fault(error).is_some()
        || code(error).is_some_and(|code| ["28", "3D"].iter().any(|class| code.code().starts_with(class)))
}
