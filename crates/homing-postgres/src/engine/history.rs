//! Compares the session with the histories of servers.

use futures_util::future::join;
use homing_proto::v1 as proto;
use tokio::time::Instant;

use super::Engine;
use crate::call::options::Consistency;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::executor::within::can_be_protected;
use crate::position::{Position, Timeline};
use crate::primary::execute::{AskPrimary, Executed, SnapshotSlot};
use crate::statement::kind::{Ask, Writes};

impl Engine {
    /// Runs statements on the primary in one transaction, unless the primary's history lacks what the session has seen. If they
    /// wrote nothing, and the primary does not show yet what replicas have shown to the session, runs them again.
    pub(crate) async fn execute_on_primary(
        &self,
        statements: Vec<proto::Statement>,
        writes: Writes,
        ask_locally: Ask,
        deadline: Instant,
    ) -> Result<Executed> {
        let ask = AskPrimary { locally: ask_locally, snapshot: None };
        let Some(mut ahead) = self.ahead(deadline) else {
            return self.execute_once_on_primary(statements, writes, ask, deadline).await;
        };
        loop {
            let (local, slot) = (self.local_snapshot(deadline).await, SnapshotSlot::default());
            let ask = AskPrimary { snapshot: Some(&slot), ..ask };
            let executing = self.execute_once_on_primary(statements.clone(), writes, ask, deadline);
            let (executed, ()) = join(executing, ahead.ask()).await;
            let wrote_nothing = match &executed {
                Ok(executed) => writes == Writes::No || executed.unchanged,
                Err(error) => self.key.is_none() && says_what_is_stored(error) && can_be_protected(&statements),
            };
            // Asked after a write too: if the primary shows all by now, the next request need not ask again.
            let is_shown = ahead.is_shown_in(slot.take().or(local)).await;
            if is_shown || !wrote_nothing {
                return executed;
            }
            ahead.pause().await?;
        }
    }

    /// Runs statements on the primary in one transaction, unless the primary's history lacks what the session has seen.
    pub(crate) async fn execute_once_on_primary(
        &self,
        statements: Vec<proto::Statement>,
        writes: Writes,
        ask: AskPrimary<'_>,
        deadline: Instant,
    ) -> Result<Executed> {
        let (session, key) = (self.history(writes), self.key_of(&statements, writes)?);
        let executed = self.primary().execute(statements, key, writes, ask, &session, deadline).await;
        if let Err(error) = &executed
            && says_what_is_stored(error)
        {
            let local = self.replicas().local_primary();
            self.note_unknown_read(local.as_ref().map(|member| member.database()));
        }
        let timeline = executed.as_ref().ok().and_then(|executed| executed.position).map(|position| position.timeline);
        let executed = self.heed(&session, timeline, executed)?;
        let may_have_written = writes != Writes::No && !executed.unchanged;
        self.check_timeline(executed.position, may_have_written)?;
        Ok(executed)
    }

    /// Notes that a local server, or else the primary behind a peer, answered something about its data. How far it was is
    /// asked later, if it matters.
    pub(crate) fn note_unknown_read(&self, server: Option<&Database>) {
        match server {
            _ if self.options.consistency == Consistency::Eventual => {}
            Some(server) => self.session.has_read(server, None, &[]),
            None => self.session.has_read_primary(),
        }
    }

    /// Returns the positions that a server has to have in its history. An eventual read has to see nothing.
    pub(crate) fn history(&self, writes: Writes) -> Vec<Position> {
        match (self.options.consistency, writes) {
            (Consistency::Eventual, Writes::No) => Vec::new(),
            _ => self.session.positions(),
        }
    }

    /// Notes what the answer of a server of this timeline says of the positions that were sent to it. A server that
    /// answers has them in its history, as has one that refuses for another reason.
    pub(crate) fn heed<T>(&self, session: &[Position], timeline: Option<Timeline>, answer: Result<T>) -> Result<T> {
        match (&answer, timeline) {
            (Ok(_), Some(timeline)) => self.session.survived(session, timeline),
            (Err(error), _) if error.is_history_lost() => self.session.lost(session),
            _ => {}
        }
        answer
    }

    /// Fails if the primary that answered is on an earlier timeline than the session. It should have refused the call, but
    /// an older build does not compare.
    pub(crate) fn check_timeline(&self, answered: Option<Position>, may_have_written: bool) -> Result<()> {
        let is_later = |answered: Position| {
            let of_this_cluster = |known: &Position| known.system_identifier == answered.system_identifier;
            let mut session = self.session.positions().into_iter().filter(of_this_cluster);
            session.find(|known| known.timeline > answered.timeline)
        };
        let Some((answered, known)) = answered.and_then(|answered| Some((answered, is_later(answered)?))) else {
            return Ok(());
        };
        let message = format!(
            "an old primary answered: it is at {answered}, and this session has seen {known}, which is of a later timeline; \
             take the old primary out of service"
        );
        Err(match may_have_written {
            true => Error::committed(format!("the write is committed there, but {message}"), Some(answered)),
            false => Error::not_primary(message),
        })
    }
}

/// Returns whether PostgreSQL answered with an error: a duplicate key tells that the row is there, for example.
fn says_what_is_stored(error: &Error) -> bool {
    error.db().is_some()
}
