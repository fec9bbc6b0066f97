//! The files of deployments say what the programs understand. No test needs a network, a cluster or a Docker engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod compose;
mod docker;
mod fly;
mod kubernetes;
mod pages;
mod settings;

use std::path::Path;

/// Reads a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// In seconds. If the primary region does not answer, `/healthz` says so after two.
const MIN_HEALTH_TIMEOUT: i32 = 3;
