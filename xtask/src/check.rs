//! `cargo xtask check`: everything a change must pass, in the order in which it is quickest to fail.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::cargo::{self, Package, cargo, has_subcommand, require_component};
use crate::totals::Totals;
use crate::{features, postgres, rules, test};

pub(crate) fn run() -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut failure = None;
    let mut totals = None;
    for (name, step) in STEPS {
        eprintln!("== {name}");
        let started = SystemTime::now();
        let result = step(&mut totals);
        rows.push((name, result.is_ok(), started.elapsed().unwrap_or_default()));
        if let Err(error) = result {
            failure = Some(format!("step {name} failed: {error:#}"));
            break;
        }
    }
    print!("{}", table(&rows));
    if let Some(failure) = &failure {
        eprintln!("error: {failure}");
    }
    // At the end, for readers of the last line alone.
    if let Some(totals) = totals {
        println!("{totals}");
    }
    Ok(match failure {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

/// The name of a step, and what it does. The step that runs the tests counts them.
type Step = (&'static str, fn(&mut Option<Totals>) -> Result<()>);

const STEPS: [Step; 9] = [
    ("format", |_| format()),
    ("rules", |_| rules::check()),
    ("deny", |_| deny()),
    // The tests need them. If they cannot be installed, the long steps need not run.
    ("postgres", |_| postgres::ensure().and_then(|()| test::ensure_helpers())),
    ("clippy", |_| clippy()),
    ("package", |_| package()),
    ("features", |_| features::check()),
    ("rustdoc", |_| rustdoc()),
    ("test", test),
];

fn format() -> Result<()> {
    require_component("fmt", "rustfmt")?;
    cargo::run(cargo().args(["fmt", "--all", "--check"]))
}

/// Needs a program that takes minutes to build, so it is left out where that is not installed. CI installs it.
fn deny() -> Result<()> {
    if !has_subcommand("deny") {
        eprintln!("left out: cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    cargo::run(cargo().args(["deny", "--workspace", "check", "bans", "licenses", "sources"]))
}

fn clippy() -> Result<()> {
    require_component("clippy", "clippy")?;
    cargo::run(cargo().args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny=warnings"]))
}

/// Makes the packages that would be published, without building them: that is `cargo package` without `--no-verify`.
fn package() -> Result<()> {
    let mut command = cargo();
    // The step before has downloaded all there is to know.
    command.args(["package", "--quiet", "--no-verify", "--allow-dirty", "--offline"]);
    for package in Package::all()?.iter().filter(|package| package.is_published) {
        command.args(["--package", &package.name]);
    }
    cargo::run(&mut command)
}

fn rustdoc() -> Result<()> {
    cargo::run(
        cargo().args(["doc", "--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "--deny=warnings"),
    )
}

fn test(totals: &mut Option<Totals>) -> Result<()> {
    let outcome = test::outcome(cargo(), &[])?;
    *totals = outcome.totals;
    outcome.failure.map_or(Ok(()), |failure| Err(anyhow::Error::msg(failure)))
}

/// Returns a row per step that ran: its name, its result, how long it took.
fn table(rows: &[(&str, bool, Duration)]) -> String {
    let mut table = String::new();
    for (name, passed, took) in rows {
        let result = if *passed { "ok" } else { "FAILED" };
        table += &format!("{name:<10}{result:<8}{:>7.1} s\n", took.as_secs_f64());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_row_per_step() {
        let rows = [("format", true, Duration::from_millis(830)), ("clippy", false, Duration::from_millis(61_240))];
        assert_eq!(table(&rows), "format    ok          0.8 s\nclippy    FAILED     61.2 s\n");
    }
}
