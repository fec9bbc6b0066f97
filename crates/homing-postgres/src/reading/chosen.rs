//! [`Chosen`], the server that a read has chosen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::held::Held;
use crate::connection::pool::Connection;
use crate::error::{Error, Result};
use crate::position::shown::Shown;
use crate::primary::local_database;
use crate::replicas::Member;

/// A server, as it was when it was chosen.
///
/// What a read knows of a server, such as the position that it has reached, holds for that server only. The address may lead
/// to another one by the time the read has a connection.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) member: Arc<Member>,
    generation: u64,
    /// If the address is spread over several servers.
    spread: Mutex<SpreadRead>,
}

/// A read from one of several servers of an address.
#[derive(Debug, Default)]
struct SpreadRead {
    /// The connection that was asked for the read.
    connection: Option<Connection>,
    /// What the server had shown to earlier reads, or had to show before this one.
    before: Vec<Shown>,
    /// What the server showed by the end of the read.
    shown: Option<Shown>,
}

impl Chosen {
    /// Notes which server it is, before anything is asked of it or known of it.
    pub(crate) fn now(member: Arc<Member>) -> Self {
        let generation = member.database().generation();
        Self { member, generation, spread: Mutex::default() }
    }

    /// Keeps the connection for the read.
    pub(super) fn hold(&self, held: Held) {
        let Held { connection, before } = held;
        *self.spread() = SpreadRead { connection: Some(connection), before, shown: None };
    }

    /// Returns the connection that was asked for the read, if the address is spread over several servers.
    pub(crate) fn take_connection(&self) -> Option<Connection> {
        self.spread().connection.take()
    }

    /// Notes what the server showed by the end of the read. `None` if it did not say so.
    pub(super) fn note_shown(&self, shown: Option<Shown>) {
        self.spread().shown = shown;
    }

    /// Returns what the server showed by the end of the read, and what it had shown before.
    pub(super) fn take_shown(&self) -> Option<(Shown, Vec<Shown>)> {
        let SpreadRead { before, shown, .. } = std::mem::take(&mut *self.spread());
        Some((shown?, before))
    }

    fn spread(&self) -> MutexGuard<'_, SpreadRead> {
        // No code under the lock panics.
        self.spread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error if connections to the address may have led to another server since.
    pub(crate) fn check(&self) -> Result<()> {
        let database = self.member.database();
        if database.generation() == self.generation {
            return Ok(());
        }
        let place = local_database(database);
        Err(Error::not_sent(format!(
            "{place} was replaced by another server or started again during the call: try again"
        )))
    }
}
