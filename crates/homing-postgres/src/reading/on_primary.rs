//! Reads that the primary answers.

use tokio::time::Instant;

use crate::call::report::AnsweredBy;
use crate::engine::Engine;
use crate::engine::answered::Answered;
use crate::engine::execute::{Output, Parameters, PrimaryRunner, execute, only};
use crate::error::Result;
use crate::primary::execute::Executed;
use crate::reading::floor::{ask_primary, check_cluster};
use crate::reading::server::note_read;
use crate::session::earlier::Earlier;
use crate::statement::description::StatementDescription;
use crate::statement::kind::Writes;

/// Runs a statement that only reads on the primary, and advances the session to the position of the read: later reads from a replica
/// must not be older.
pub(crate) async fn read_from_primary(
    engine: &Engine,
    operation: &'static str,
    started: Instant,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Answered<Output>> {
    let earlier = engine.session.earlier();
    let runner = PrimaryRunner { engine, writes: Writes::No, deadline: engine.deadline() };
    let (executed, descriptions) = execute(&[(sql, parameters)][..], &runner).await?;
    let answered = note_read_from_primary(engine, operation, started, executed, &descriptions, &earlier).await?;
    Ok(answered.and_then(|outputs| Ok(only(outputs))))
}

/// Advances the session to the position of a read from the primary. `earlier` is what the session had before the read.
pub(crate) async fn note_read_from_primary(
    engine: &Engine,
    operation: &'static str,
    started: Instant,
    executed: Executed,
    descriptions: &[StatementDescription],
    earlier: &Earlier,
) -> Result<Answered<Vec<Output>>> {
    let mut executed = executed;
    if executed.position.is_none() && engine.session.is_imported() {
        // The session may belong to another cluster, and the answer does not tell which one this is.
        executed.position = Some(ask_primary(engine).await?);
    }
    let local = engine.replicas().local_primary().filter(|_| executed.trip.answered_by == AnsweredBy::Local);
    match (local, executed.position) {
        // The local primary answered, so this is a read like any other: it is asked for its position when that matters.
        (Some(local), position) if executed.unchanged || position.is_none() => {
            note_read(engine, &local, position, &earlier.seen);
        }
        (_, Some(position)) => {
            check_cluster(engine, position)?;
            engine.session.advance(position);
            engine.session.settle_all(earlier, position);
        }
        // The primary does not tell how far its log is.
        (_, None) if executed.unchanged => engine.note_unknown_read(None),
        (_, None) => engine.session.lost_track(),
    }
    let report = executed.trip.report(operation, started, None);
    Ok(Answered::new(executed.outputs(descriptions), report))
}
