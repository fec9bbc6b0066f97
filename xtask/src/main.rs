//! The project's commands, one module each: `cargo xtask --help` lists them.

mod browser;
mod cargo;
mod check;
mod demo;
mod features;
mod matrix;
mod poolers;
mod postgres;
mod rules;
mod test;
mod totals;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    run(std::env::args_os().skip(1).collect()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command. An error says why the command could not do its work. A command that did its work and found something
/// wrong has printed that, and returns a failing exit code.
fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let words: Vec<_> = arguments.iter().map(OsString::as_os_str).map(OsStr::to_str).collect();
    match words[..] {
        [Some(command @ ("bench" | "demo" | "faults" | "regions")), ..] => demo::run(command, &arguments[1..]),
        [Some("help" | "-h" | "--help")] | [_, Some("-h" | "--help")] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        [Some("check")] => check::run(),
        [Some("matrix"), ..] => matrix::run(&arguments[1..]),
        [Some("test")] => test::run(&[]),
        [Some("test"), Some("--"), ..] => test::run(&arguments[2..]),
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(MISUSED))
        }
    }
}

const USAGE: &str = "\
The project's commands

Usage: cargo xtask COMMAND

  demo      Show three regions on this machine with real databases; every step checks itself
  regions   Measure reads from one region to each replica and to the primary
  bench     Measure what Homing promises, on an otherwise idle machine
  faults    Break processes, links, databases and names under a workload, and check what its callers were told
  test      Run all tests, documentation tests included
  matrix    Run all tests on each version of PostgreSQL that this machine has, or on those named: matrix 14 17
  check     Run everything that a change must pass, all tests included

demo, regions, bench and faults list their options after --help. Arguments after `cargo xtask test --` and `matrix --` go to every
test binary: part of a test's name, --nocapture, and the like. matrix finds a version in the folder that HOMING_PG_BIN_17 (or
another number) names, or where systems put it. demo, regions, bench, faults, test and check install PostgreSQL first if this
machine has none; test and check install Chromium, PgBouncer and HAProxy too.
";

/// The exit code of a command line that is not understood.
const MISUSED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_command_fails_with_usage() {
        for line in [&[][..], &["tset"], &["test", "tracker"], &["check", "--quick"]] {
            let code = run(line.iter().map(OsString::from).collect()).unwrap();
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(MISUSED)), "{line:?}");
        }
    }
}
