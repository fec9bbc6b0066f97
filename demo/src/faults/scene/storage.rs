//! What a world has beside regions: a standby, and a clock that can be moved.

use std::path::{Path, PathBuf};

use anyhow::Result;
use homing_testbed::{Patroni, Postgres, Relay, World};

use super::{PRIMARY, Standby};
use crate::faults::node::tables::SCHEMA;

/// Starts a second server in the primary region. All replicas follow the one of the two that is the primary.
pub(super) async fn start_standby(world: &World) -> Result<Standby> {
    let upstream = Relay::start(world.primary().address())?;
    let server = Postgres::options()
        .with_name("standby")
        .with_scratch(world.scratch())
        .with_upstream(upstream.address())
        .start_replica_of(world.primary())
        .await?;
    let (primary, standby) = (world.primary().address(), server.address());
    for region in world.regions().filter(|region| *region != PRIMARY) {
        let source = format!(
            "host={},{} port={},{} user=postgres application_name={region} target_session_attrs=primary",
            primary.ip(),
            standby.ip(),
            primary.port(),
            standby.port(),
        );
        world.replica(region).reconfigure(&[("primary_conninfo", &source)]).await?;
    }
    Ok(Standby { server, upstream })
}

/// Starts three servers of which Patroni makes one the primary. A commit waits for a second one, so that none is lost.
pub(super) async fn start_patroni() -> Result<Patroni> {
    let cluster = Patroni::options().with_synchronous_mode().start().await?;
    cluster.leader().await?.connect("postgres").await?.batch_execute(SCHEMA).await?;
    cluster.settled().await?;
    Ok(cluster)
}

/// Creates the file that says how far a clock is moved. `None` if libfaketime is not installed.
pub(super) fn clock_file(world: &World) -> Result<Option<PathBuf>> {
    if faketime().is_none() {
        return Ok(None);
    }
    let file = world.scratch().path().join("clock");
    std::fs::write(&file, "+0\n")?;
    Ok(Some(file))
}

/// Returns the environment of a node whose clock the file moves while it runs.
pub(super) fn moved_clock(file: &Path) -> Vec<(&'static str, String)> {
    let Some(library) = faketime() else { return Vec::new() };
    vec![
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // As in production: only the wall clock is set.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// Returns the library that moves clocks: Debian's package `libfaketime`.
pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|library| Path::new(library).is_file())
}

const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];
