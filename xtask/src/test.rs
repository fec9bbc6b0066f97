//! `cargo xtask test`: all tests, documentation tests included. PostgreSQL, Chromium, PgBouncer and HAProxy are installed first
//! if they are missing.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::cargo::{cargo, shown};
use crate::totals::Totals;
use crate::{browser, poolers, postgres};

/// Runs all tests. The arguments are for every test binary: part of a test's name, --nocapture, and the like.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    postgres::ensure()?;
    ensure_helpers()?;
    let outcome = outcome(cargo(), arguments)?;
    if let Some(failure) = &outcome.failure {
        eprintln!("error: {failure}");
    }
    if let Some(totals) = outcome.totals {
        println!("{totals}");
    }
    Ok(match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

/// Installs the programs that the tests need besides PostgreSQL, if this machine has none.
pub(crate) fn ensure_helpers() -> Result<()> {
    browser::ensure()?;
    poolers::ensure()
}

/// Runs the tests with this cargo and counts them; the output of the test binaries passes through. PostgreSQL must be
/// installed.
pub(crate) fn outcome(mut command: Command, arguments: &[OsString]) -> Result<Outcome> {
    // All targets but benchmarks, and the documentation tests. A failing binary does not keep the next from running, so
    // that the totals are those of all tests.
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    let shown = shown(&command);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {shown}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let counted = copy_and_count(BufReader::new(stdout), io::stdout());
    let status = child.wait().with_context(|| format!("cannot wait for {shown}"))?;
    let (totals, failed) = counted?;
    Ok(Outcome { failed, ..Outcome::new(totals, status.success(), &shown) })
}

/// The outcome of a run of tests.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` if no test ran.
    pub(crate) totals: Option<Totals>,
    /// Why the run does not count as passed.
    pub(crate) failure: Option<String>,
    /// The names of the tests that failed.
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    fn new(totals: Totals, success: bool, shown: &str) -> Self {
        let failure = if totals.failed > 0 {
            Some(format!("tests failed: {}", totals.failed))
        } else if !success {
            Some(format!("{shown} failed, though no test did: see its messages above"))
        } else if totals.is_empty() {
            Some("no test ran".to_owned())
        } else {
            None
        };
        Self { totals: (!totals.is_empty()).then_some(totals), failure, failed: Vec::new() }
    }
}

/// Copies line by line, and returns the sum of the totals in the lines, and the names of the tests that failed.
fn copy_and_count(mut from: impl BufRead, mut to: impl Write) -> Result<(Totals, Vec<String>)> {
    let (mut totals, mut failed) = (Totals::default(), Vec::new());
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if let Some(counts) = Totals::parse(&text) {
            totals += counts;
        }
        failed.extend(failed_test(&text).map(str::to_owned));
        to.write_all(&line)?;
        to.flush()?;
        line.clear();
    }
    Ok((totals, failed))
}

/// Returns the name in a line that says that a test failed: `test reads_are_local ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.trim_end().strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: Totals = Totals { passed: 3, failed: 0, skipped: 1 };

    #[test]
    fn every_binary_is_counted() {
        let output: &[u8] = b"running 2 tests\n\
            test a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            not utf-8: \xff\n\
            test b ... FAILED\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            no newline at the end";
        let mut copied = Vec::new();
        assert_eq!(copy_and_count(output, &mut copied).unwrap(), (PASSED, vec!["b".to_owned()]));
        assert_eq!(copied, output);
    }

    #[test]
    fn no_test_means_no_totals() {
        assert_eq!(Outcome::new(PASSED, true, "cargo test").totals, Some(PASSED));
        assert_eq!(Outcome::new(Totals::default(), false, "cargo test").totals, None);
    }

    #[test]
    fn run_passes_without_failures() {
        let failed = Totals { failed: 2, ..PASSED };
        let failure = |totals, success| Outcome::new(totals, success, "cargo test").failure;
        assert_eq!(failure(PASSED, true), None);
        assert_eq!(failure(failed, false).unwrap(), "tests failed: 2");
        assert_eq!(failure(failed, true).unwrap(), "tests failed: 2");
        assert_eq!(failure(PASSED, false).unwrap(), "cargo test failed, though no test did: see its messages above");
        assert_eq!(failure(Totals::default(), true).unwrap(), "no test ran");
    }
}
