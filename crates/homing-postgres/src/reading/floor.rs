//! The positions that a session's reads have to see, after it has read from other servers.

use std::time::Duration;

use tokio::time::timeout;

use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::executor::question::select_one;
use crate::position::Position;
use crate::position::kind::PositionKind;
use crate::position::lsn::Lsn;
use crate::position::role::Role;
use crate::primary::execute::AskPrimary;
use crate::scope::LocalSettings;
use crate::session::seen::Seen;
use crate::session::token::foreign;
use crate::statement::kind::{Ask, Writes};

/// Asks the servers that the session has read from for their positions, so that later reads are not older. Skips
/// `chosen`, which is read from next.
pub(crate) async fn settle_reads(engine: &Engine, chosen: Option<&Database>) -> Result<()> {
    loop {
        settle_seen(engine, chosen).await?;
        // Meanwhile another call may have learned that the session's positions were lost. Then the primary is asked for one that
        // stands for what is left of them.
        if !engine.session.seen_elsewhere(chosen).iter().any(Seen::has_written) {
            return Ok(());
        }
    }
}

async fn settle_seen(engine: &Engine, chosen: Option<&Database>) -> Result<()> {
    let seen = engine.session.seen_elsewhere(chosen);
    // On a spread address, what one server has shown may be missing on the next one.
    let spread = chosen.filter(|chosen| chosen.is_spread()).and_then(|chosen| engine.session.seen_at(chosen));
    let before = engine.session.positions();
    // The log of no server is ahead of that of the primary. So if the primary has to be asked, its answer is one for all.
    let is_of_primary = |seen: &Seen| seen.position().is_none() && seen.server().is_none();
    let mut of_primary = if seen.iter().any(is_of_primary) { Some(ask_primary(engine).await?) } else { None };
    for seen in seen {
        let position = match of_primary {
            Some(position) => position,
            None => match ask_server(&seen).await {
                Some(position) => position,
                None => *of_primary.insert(ask_primary(engine).await?),
            },
        };
        engine.session.settle(&seen, &before, position);
    }
    if let Some((seen, position)) = spread.zip(of_primary) {
        engine.session.settle(&seen, &before, position);
    }
    Ok(())
}

/// Refuses a position that belongs to another cluster than the session's token.
pub(crate) fn check_cluster(engine: &Engine, position: Position) -> Result<()> {
    let session = &engine.session;
    let required = session.wanted().filter(|_| session.is_imported());
    if required.is_some_and(|required| required.position.system_identifier != position.system_identifier)
        && !session.decline()
    {
        return Err(foreign(engine.database_name()));
    }
    Ok(())
}

/// Asks the primary for its position.
pub(crate) async fn ask_primary(engine: &Engine) -> Result<Position> {
    let engine = engine.with_local(&LocalSettings::default());
    let ask = AskPrimary { locally: Ask::Position, snapshot: None };
    let executed = engine.execute_once_on_primary(vec![select_one()], Writes::No, ask, engine.deadline()).await?;
    executed.position.ok_or_else(|| Error::not_sent("the primary answered without its position: try again"))
}

async fn ask_server(seen: &Seen) -> Option<Position> {
    if let Some(position) = seen.position() {
        return Some(position);
    }
    let server = seen.server()?;
    if server.role() == Some(Role::Primary) {
        return server.current_position().await;
    }
    if server.pool().known().abilities().is_some_and(|abilities| abilities.positions == PositionKind::Transaction) {
        return None;
    }
    let position = timeout(ASK_TIMEOUT, shown_by(&server)).await.ok()??;
    seen.is_still(&server).then_some(position)
}

/// Returns a position of a replica that covers all that it has shown before this call. `None` if it cannot tell: it is in
/// doubt of its timeline, does not tell its place in the log, or takes long with a record.
///
/// PostgreSQL shows a commit before it counts its record as replayed, and deletes the files of dropped tables in between. So
/// if there is more of the log, the place does not cover the record that is being replayed, until it moves.
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/access/transam/xlogrecovery.c> (`ApplyWalRecord`)
async fn shown_by(replica: &Database) -> Option<Position> {
    let mut before = None;
    for _ in 0..MAX_PROBES {
        let state = replica.tracker().probe().await.ok()?;
        let position = state.position;
        if state.in_doubt || state.role != Role::Replica || position.lsn == Lsn::INVALID {
            return None;
        }
        let is_all = state.received == Some(position.lsn);
        if is_all || before.is_some_and(|before| before < position.lsn) {
            return Some(position);
        }
        before = Some(position.lsn);
    }
    None
}

/// How long a server may take to answer with its position; the first question opens a connection. After that the
/// primary is asked, which takes about as long.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a replica is asked for its place while the place stays the same. Most records take less than a probe.
const MAX_PROBES: usize = 3;
