//! [`Chosen`], the server that a read has chosen.

use std::sync::Arc;

use crate::error::{Error, Result};
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
}

impl Chosen {
    /// Notes which server it is, before anything is asked of it or known of it.
    pub(crate) fn now(member: Arc<Member>) -> Self {
        let generation = member.database().generation();
        Self { member, generation }
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
