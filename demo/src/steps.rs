//! The steps of the demo, one file each. Every step checks what it shows.

mod insert;
mod many;
mod paused_replay;
mod peer_killed;
mod raw_sql;
mod read;

use crate::run::Run;
use crate::scene::Scene;

/// Runs all steps, in order.
pub(crate) async fn all(run: &mut Run, scene: &Scene) {
    read::run(run, scene).await;
    insert::run(run, scene).await;
    many::run(run, scene).await;
    raw_sql::run(run, scene).await;
    peer_killed::run(run, scene).await;
    paused_replay::run(run, scene).await;
}
