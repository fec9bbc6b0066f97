//! `cargo xtask demo`, `regions`, `bench` and `faults`: the programs of the crate `homing-demo`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cargo::{cargo, root};
use crate::postgres;

/// Becomes that program, so that signals reach it and its exit code is ours. Returns only if it cannot be started.
pub(crate) fn run(command: &str, arguments: &[OsString]) -> Result<ExitCode> {
    if !arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        postgres::ensure()?;
    }
    let mut program = cargo();
    program.arg("run").arg("--manifest-path").arg(root().join("demo/Cargo.toml")).args(["--", command]).args(arguments);
    // Its arguments may name files from where the command was typed.
    Err(program.current_dir(".").exec()).context("cannot run cargo")
}
