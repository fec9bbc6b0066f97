//! [`Ahead`], what replicas have shown to a session, and the primary may not show yet.
//!
//! PostgreSQL ships the log of a commit, and replicas replay it, before the transaction ends on the primary. With synchronous
//! replication this takes a round trip, or as long as the synchronous replica is away. The primary does not tell such a transaction
//! from one that is still running, but a replica does. So the answer of the primary carries the transactions that had not ended
//! there, and a replica that the session has read is asked which of them it shows. If it shows one, the request is sent again.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout};

use super::Engine;
use crate::call::options::Consistency;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::position::role::Role;
use crate::position::snapshot::Snapshot;
use crate::position::state::Verdict;
use crate::position::transaction_id::TransactionId;
use crate::primary::pauses::Pauses;
use crate::session::seen::Seen;
use crate::tracker::Requirements;

/// The replicas that a session has read since the primary was last known to show what they had shown.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    engine: &'a Engine,
    seen: Vec<Seen>,
    /// What they have shown. `None` before they were asked.
    leaders: Option<Vec<Leader>>,
    pauses: Pauses,
}

/// A replica that may show more than the primary does.
#[derive(Debug)]
struct Leader {
    seen: Seen,
    database: Database,
    /// The transactions that it had shown to the session have lower ids than that of this position.
    before: Position,
    /// Those of them that had not ended on the primary, and that the replica showed when it was asked. It had shown no others:
    /// what is committed later does not matter. `None` before it was asked.
    missing: Option<Vec<TransactionId>>,
}

impl Engine {
    /// Returns the replicas that may have shown more to the session than the primary does, for a request that has until the
    /// deadline. `None` if there are none, or if the request does not have to see what the session has seen.
    pub(crate) fn ahead(&self, deadline: Instant) -> Option<Ahead<'_>> {
        let seen = self.session.ahead();
        let has_to_see = self.options.consistency != Consistency::Eventual && !seen.is_empty();
        has_to_see.then(|| Ahead { engine: self, seen, leaders: None, pauses: Pauses::until(deadline) })
    }

    /// Waits until the primary next to this node shows what replicas have shown to the session. Returns at once if there is no
    /// such primary.
    ///
    /// # Errors
    ///
    /// Not sent, if the primary does not show it before the deadline.
    pub(crate) async fn wait_for_local_primary(&self, deadline: Instant) -> Result<()> {
        let Some(mut ahead) = self.ahead(deadline) else { return Ok(()) };
        loop {
            let (snapshot, ()) = join(self.local_snapshot(deadline), ahead.ask()).await;
            if ahead.is_shown_in(snapshot).await {
                return Ok(());
            }
            ahead.pause().await?;
        }
    }

    /// Returns the snapshot of the primary next to this node. `None` if there is no such primary, or if it does not answer.
    pub(crate) async fn local_snapshot(&self, deadline: Instant) -> Option<Snapshot> {
        let local = self.replicas().local_primary().filter(|member| member.answers())?;
        local.database().executor().snapshot(deadline).await.ok()
    }

    /// Asks a replica what it has shown by now. `None` if that will never be known, or is not known now.
    async fn leader(&self, seen: &Seen) -> Option<Leader> {
        let session = &self.session;
        if seen.is_imported() {
            return self.leader_for_imported(seen).await;
        }
        // A server that is gone, or that is the primary now, cannot be asked any more.
        let database = seen.server().filter(|server| seen.is_still(server) && server.role() != Some(Role::Primary));
        let Some(database) = database.filter(|server| !server.is_spread() || !seen.shown().is_empty()) else {
            session.primary_shows(seen);
            return None;
        };
        let Some(shown) = seen.shown().iter().max_by_key(|shown| shown.before) else {
            return Leader::ask(seen, database).await;
        };
        let before = Position::by_transaction(shown.server.system_identifier, shown.timeline, shown.before);
        Some(Leader { seen: seen.clone(), database, before, missing: None })
    }

    /// Asks a replica of this node that has everything which another node had seen, for all replicas of that node. `None` if no
    /// replica has.
    async fn leader_for_imported(&self, seen: &Seen) -> Option<Leader> {
        let positions = self.session.positions();
        let replicas = self.replicas().answering_replicas();
        let reached = join_all(replicas.iter().map(|member| has_reached(member.database(), &positions))).await;
        let (member, _) = replicas.iter().zip(reached).find(|(_, has_reached)| *has_reached)?;
        Leader::ask(seen, member.database().clone()).await
    }
}

impl Ahead<'_> {
    /// Asks the replicas what they have shown, at the first call. It is asked while the request is on its way: the later the
    /// question, the more transactions there are that the session has not seen.
    pub(crate) async fn ask(&mut self) {
        if self.leaders.is_none() {
            let asking = self.seen.iter().map(|seen| timeout(ASK_TIMEOUT, self.engine.leader(seen)));
            let asked = join_all(asking).await;
            self.leaders = Some(asked.into_iter().filter_map(|asked| asked.ok().flatten()).collect());
        }
    }

    /// Returns whether a request that began at this snapshot of the primary sees what the replicas have shown. A build that tells no
    /// snapshot counts as one that shows everything.
    pub(crate) async fn is_shown_in(&mut self, snapshot: Option<Snapshot>) -> bool {
        let Some(snapshot) = snapshot else { return true };
        let mut missing = Vec::new();
        for mut leader in self.leaders.take().unwrap_or_default() {
            match leader.shows_more_than(&snapshot).await {
                true => missing.push(leader),
                false => self.engine.session.primary_shows(&leader.seen),
            }
        }
        let is_shown = missing.is_empty();
        self.leaders = Some(missing);
        is_shown
    }

    /// Pauses before the request is sent again.
    ///
    /// # Errors
    ///
    /// Not sent, if there is no time left.
    pub(crate) async fn pause(&mut self) -> Result<()> {
        if self.pauses.pause().await {
            return Ok(());
        }
        Err(Error::not_sent(
            "the primary does not show yet what this session has read from a replica: a commit has not ended there, perhaps since \
             it waits for a synchronous replica (synchronous_standby_names); try again later",
        ))
    }
}

impl Leader {
    async fn ask(seen: &Seen, database: Database) -> Option<Self> {
        let state = database.tracker().probe().await.ok()?;
        let Position { system_identifier, timeline, .. } = state.position;
        let before = Position::by_transaction(system_identifier, timeline, state.next_transaction?);
        (state.role == Role::Replica).then(|| Self { seen: seen.clone(), database, before, missing: None })
    }

    /// Returns whether the replica has shown a transaction to the session that had not ended at this snapshot.
    async fn shows_more_than(&mut self, snapshot: &Snapshot) -> bool {
        if self.missing.is_none() {
            let before = self.before.transaction.expect("it is a position by transaction");
            let Some(in_progress) = snapshot.in_progress_before(before) else { return true };
            let asked = timeout(ASK_TIMEOUT, self.shown_of(&in_progress));
            // A replica that does not answer any more cannot tell.
            self.missing = asked.await.unwrap_or(Some(Vec::new()));
        }
        self.missing.as_ref().is_none_or(|missing| missing.iter().any(|id| snapshot.may_lack(*id)))
    }

    /// Asks which of these transactions the replica shows. `None` if another server has to be asked.
    async fn shown_of(&self, transactions: &[TransactionId]) -> Option<Vec<TransactionId>> {
        let positions = transactions.iter().map(|id| (*id, self.before.with_transaction(*id)));
        if self.database.is_spread() {
            return self.shown_on_a_connection(positions.collect()).await;
        }
        let asked = positions.map(async |(id, position)| {
            matches!(self.database.tracker().check(position).await, Ok(Verdict::Reached)).then_some(id)
        });
        Some(join_all(asked).await.into_iter().flatten().collect())
    }

    /// Asks one of the servers of a spread address. `None` if it is not as far as those that the session has read.
    async fn shown_on_a_connection(&self, positions: Vec<(TransactionId, Position)>) -> Option<Vec<TransactionId>> {
        let mut shown = Vec::new();
        if positions.is_empty() {
            return Some(shown);
        }
        let connection = self.database.pool().connection(Instant::now() + ASK_TIMEOUT).await.ok()?;
        let tracker = self.database.tracker();
        let has = async |positions, shown| {
            let verdict = tracker.ask_on(&connection, &Requirements { positions, shown }).await;
            matches!(verdict, Ok(Verdict::Reached))
        };
        if !has(Vec::new(), self.seen.shown().to_vec()).await {
            return None;
        }
        for (id, position) in positions {
            if has(vec![position], Vec::new()).await {
                shown.push(id);
            }
        }
        Some(shown)
    }
}

async fn has_reached(database: &Database, positions: &[Position]) -> bool {
    let verdicts = join_all(positions.iter().map(|position| database.tracker().check(*position))).await;
    verdicts.into_iter().all(|verdict| matches!(verdict, Ok(Verdict::Reached)))
}

/// A replica that takes longer to answer would not answer a read quickly either. The request goes on without it.
const ASK_TIMEOUT: Duration = Duration::from_millis(250);
