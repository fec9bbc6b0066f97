//! A run of the demo or the bench: its output and its results.

use std::time::Duration;

use anyhow::Result;

use crate::output::console::Console;
use crate::output::findings::{Check, Findings};
use crate::output::table::Table;

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) console: Console,
    pub(crate) findings: Findings,
    effort: Effort,
    /// How many of the checks have been printed.
    printed: usize,
}

/// How often measurements are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Full,
    /// Enough for the checks; the figures are coarser.
    Quick,
}

impl Run {
    pub(crate) fn new(effort: Effort) -> Self {
        Self { console: Console::new(), findings: Findings::default(), effort, printed: 0 }
    }

    pub(crate) fn repetitions(&self, full: usize, quick: usize) -> usize {
        match self.effort {
            Effort::Full => full,
            Effort::Quick => quick,
        }
    }

    /// Adds a check: `holds` says whether it passes.
    pub(crate) fn check(&mut self, name: impl Into<String>, holds: bool, failure: impl FnOnce() -> String) {
        self.findings.add(Check { name: name.into(), failure: (!holds).then(failure) });
    }

    /// Notes a figure, and checks that it keeps its bar.
    pub(crate) fn bar(&mut self, name: &str, figure: f64, holds: bool, bar: &str) {
        self.findings.figure(name, figure);
        self.check(format!("{name}: {bar}"), holds, || format!("{figure:.3}"));
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.effort == Effort::Quick
    }

    /// Adds a failed check if a part of the run ended with an error; the other parts go on.
    pub(crate) fn check_ran(&mut self, part: &str, result: Result<()>) {
        if let Err(error) = result {
            self.check(format!("{part}: runs to its end"), false, || format!("{error:#}"));
        }
    }

    /// Prints the measurements of a part, remarks on them, and its checks.
    pub(crate) fn show(&mut self, table: &Table, remarks: &[String]) {
        self.console.table(table);
        for remark in remarks {
            self.console.remark(remark);
        }
        self.print_checks();
    }

    /// Prints the checks that have not been printed yet.
    pub(crate) fn print_checks(&mut self) {
        let checks = self.findings.checks();
        for check in &checks[self.printed..] {
            self.console.check(check);
        }
        self.printed = checks.len();
    }

    /// Prints all checks once more, with their totals, and returns whether all passed.
    pub(crate) fn conclude(&self, took: Duration) -> bool {
        self.console.heading("All checks");
        for check in self.findings.checks() {
            self.console.check(check);
        }
        let (all, failed) = (self.findings.checks().len(), self.findings.failed());
        let passed = all - failed;
        let totals = format!("{all} checks in {:.0} s: {passed} ok, {failed} failed", took.as_secs_f64());
        self.console.verdict(failed == 0, &totals);
        failed == 0
    }
}
