//! `cargo xtask check`: everything a change must pass, in the order in which it is quickest to fail.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::cargo::{self, cargo, require_component};
use crate::totals::Totals;
use crate::{browser, features, postgres, rules, test};

pub(crate) fn run() -> Result<ExitCode> {
    let mut steps = Vec::new();
    let mut failure = None;
    let mut totals = None;
    for step in Step::ALL {
        eprintln!("== {}", step.name());
        let started = SystemTime::now();
        let result = step.run(&mut totals);
        steps.push((step, result.is_ok(), started.elapsed().unwrap_or_default()));
        if let Err(error) = result {
            failure = Some(format!("step {} failed: {error:#}", step.name()));
            break;
        }
    }
    print!("{}", table(&steps));
    if let Some(failure) = &failure {
        eprintln!("error: {failure}");
    }
    // Last, for whoever reads only the last line.
    if let Some(totals) = totals {
        println!("{totals}");
    }
    Ok(match failure {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Format,
    Rules,
    Postgres,
    Clippy,
    Features,
    Rustdoc,
    Test,
}

impl Step {
    const ALL: [Self; 7] =
        [Self::Format, Self::Rules, Self::Postgres, Self::Clippy, Self::Features, Self::Rustdoc, Self::Test];

    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Rules => "rules",
            Self::Postgres => "postgres",
            Self::Clippy => "clippy",
            Self::Features => "features",
            Self::Rustdoc => "rustdoc",
            Self::Test => "test",
        }
    }

    fn run(self, totals: &mut Option<Totals>) -> Result<()> {
        match self {
            Self::Format => format(),
            Self::Rules => rules::check(),
            // The tests need it, and a browser; better to hear that these cannot be had before the long steps than after them.
            Self::Postgres => postgres::ensure().and_then(|()| browser::ensure()),
            Self::Clippy => clippy(),
            Self::Features => features::check(),
            Self::Rustdoc => rustdoc(),
            Self::Test => test(totals),
        }
    }
}

fn format() -> Result<()> {
    require_component("fmt", "rustfmt")?;
    cargo::run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    require_component("clippy", "clippy")?;
    cargo::run(cargo().args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny=warnings"]))
}

fn rustdoc() -> Result<()> {
    cargo::run(
        cargo().args(["doc", "--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "--deny=warnings"),
    )
}

fn test(totals: &mut Option<Totals>) -> Result<()> {
    let outcome = test::outcome(&[])?;
    *totals = outcome.totals;
    outcome.failure.map_or(Ok(()), |failure| Err(anyhow::Error::msg(failure)))
}

/// A row per step that ran: its name, how it went, how long it took.
fn table(steps: &[(Step, bool, Duration)]) -> String {
    let mut table = String::new();
    for (step, passed, took) in steps {
        let result = if *passed { "ok" } else { "FAILED" };
        table += &format!("{:<10}{result:<8}{:>7.1} s\n", step.name(), took.as_secs_f64());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_step() {
        let steps =
            [(Step::Format, true, Duration::from_millis(830)), (Step::Clippy, false, Duration::from_millis(61_240))];
        assert_eq!(table(&steps), "format    ok          0.8 s\nclippy    FAILED     61.2 s\n");
    }
}
