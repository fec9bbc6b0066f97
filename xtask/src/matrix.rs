//! `cargo xtask matrix`: all tests on each version of PostgreSQL that this machine has, and a table of the results.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::cargo;
use crate::postgres;
use crate::test::{self, Outcome};
use crate::totals::Totals;

/// Runs the tests on the versions that the arguments name, or on all that this machine has. Arguments behind `--` are for
/// every test binary.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let (versions, arguments) = match arguments.iter().position(|argument| argument == "--") {
        Some(end) => (&arguments[..end], &arguments[end + 1..]),
        None => (arguments, &[][..]),
    };
    let installations = installations(versions)?;
    test::ensure_helpers()?;
    let mut rows = Vec::new();
    for installation in installations {
        eprintln!("== PostgreSQL {} in {}", installation.release, installation.folder.display());
        let started = SystemTime::now();
        let mut command = cargo();
        command.env(postgres::FOLDER_VARIABLE, &installation.folder);
        let outcome = test::outcome(command, arguments)?;
        rows.push(Row { release: installation.release, outcome, took: started.elapsed().unwrap_or_default() });
    }
    print!("{}", table(&rows));
    let mut totals = Totals::default();
    rows.iter().filter_map(|row| row.outcome.totals).for_each(|row| totals += row);
    println!("{totals}");
    let all_passed = rows.iter().all(|row| row.outcome.failure.is_none());
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A version of PostgreSQL on this machine.
#[derive(Debug)]
struct Installation {
    /// As PostgreSQL prints it, such as `17.10`.
    release: String,
    folder: PathBuf,
}

impl Installation {
    /// Finds a version: in the folder that `HOMING_PG_BIN_17` and the like name, or where systems put it.
    fn find(version: u32) -> Result<Option<Self>> {
        let variable = format!("{}_{version}", postgres::FOLDER_VARIABLE);
        match std::env::var_os(&variable).filter(|folder| !folder.is_empty()) {
            Some(folder) => Ok(Some(Self::at(folder.into(), version).with_context(|| format!("{variable} is wrong"))?)),
            None => Ok(postgres::folders()?.into_iter().find_map(|folder| Self::at(folder, version).ok())),
        }
    }

    fn at(folder: PathBuf, version: u32) -> Result<Self> {
        let postgres = folder.join("postgres");
        let output = Command::new(&postgres).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", postgres.display()))?;
        let release = release(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default().to_owned();
        let is_right =
            release.strip_prefix(&version.to_string()).is_some_and(|rest| !rest.starts_with(char::is_numeric));
        ensure!(is_right, "{} is not PostgreSQL {version} but {release:?}", postgres.display());
        Ok(Self { release, folder })
    }
}

/// Returns the installations of these versions, or of all that there are.
fn installations(versions: &[OsString]) -> Result<Vec<Installation>> {
    if versions.is_empty() {
        let all: Result<Vec<_>> = VERSIONS.map(Installation::find).collect();
        let all: Vec<_> = all?.into_iter().flatten().collect();
        ensure!(!all.is_empty(), "this machine has no version of PostgreSQL: install one, or set {HINT}");
        return Ok(all);
    }
    let mut found = Vec::new();
    for version in versions {
        let number = version.to_str().and_then(|text| text.parse().ok()).filter(|number| VERSIONS.contains(number));
        let Some(number) = number else {
            bail!("{version:?} is not a version from {} to {}", VERSIONS.start(), VERSIONS.end())
        };
        let installation = Installation::find(number)?;
        found.push(installation.with_context(|| {
            format!("this machine has no PostgreSQL {number}: install its server programs, or set {HINT}")
        })?);
    }
    Ok(found)
}

/// Returns the release in PostgreSQL's answer, such as `postgres (PostgreSQL) 17.10 (Debian 17.10-1)`.
fn release(answer: &str) -> Option<&str> {
    answer.split_once("(PostgreSQL) ")?.1.split_whitespace().next()
}

/// The tests on one version.
#[derive(Debug)]
struct Row {
    release: String,
    outcome: Outcome,
    took: Duration,
}

/// Returns a row per version, and the names of the tests that failed.
fn table(rows: &[Row]) -> String {
    let mut table = format!("{:<12}{:>7}{:>8}{:>9}{:>9}\n", "PostgreSQL", "passed", "failed", "skipped", "seconds");
    for Row { release, outcome, took } in rows {
        let Totals { passed, failed, skipped } = outcome.totals.unwrap_or_default();
        table += &format!("{release:<12}{passed:>7}{failed:>8}{skipped:>9}{:>9.0}\n", took.as_secs_f64());
    }
    for Row { release, outcome, .. } in rows {
        if let Some(failure) = &outcome.failure {
            table += &format!("{release}: {failure}\n");
        }
        for name in &outcome.failed {
            table += &format!("{release}: {name}\n");
        }
    }
    table
}

/// The versions that Homing supports.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=19;

const HINT: &str = "HOMING_PG_BIN_17 (or another number) to the folder of its programs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_read_from_the_answer() {
        for (answer, expected) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some("15.14")),
            ("postgres (PostgreSQL) 19rc1\n", Some("19rc1")),
            ("something else", None),
        ] {
            assert_eq!(release(answer), expected, "{answer}");
        }
    }

    #[test]
    fn unsupported_version_is_refused() {
        for version in ["13", "20", "15.1", "new", ""] {
            let error = installations(&[version.into()]).unwrap_err().to_string();
            assert!(error.contains("from 14 to 19"), "{error}");
        }
    }

    #[test]
    fn table_names_failed_tests() {
        let outcome = |failed: &[&str]| Outcome {
            totals: Some(Totals { passed: 1104, failed: failed.len() as u64, skipped: 3 }),
            failure: (!failed.is_empty()).then(|| "tests failed: 1".to_owned()),
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
        };
        let rows = [("14.23", &[][..]), ("19rc1", &["calls::batch"])].map(|(release, failed)| Row {
            release: release.to_owned(),
            outcome: outcome(failed),
            took: Duration::from_millis(500_400),
        });
        let expected = "PostgreSQL   passed  failed  skipped  seconds\n\
                        14.23          1104       0        3      500\n\
                        19rc1          1104       1        3      500\n\
                        19rc1: tests failed: 1\n\
                        19rc1: calls::batch\n";
        assert_eq!(table(&rows), expected);
    }
}
