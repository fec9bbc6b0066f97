//! A run of the demo or the bench: what is printed, and what is found out.

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

/// How often things are repeated.
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

    /// Notes whether something holds that has to.
    pub(crate) fn check(&mut self, name: impl Into<String>, holds: bool, failure: impl FnOnce() -> String) {
        self.findings.add(Check { name: name.into(), failure: (!holds).then(failure) });
    }

    /// A part that could not be gone through is a failed check; the others go on.
    pub(crate) fn went_through(&mut self, part: &str, result: Result<()>) {
        if let Err(error) = result {
            self.check(format!("{part}: can be gone through"), false, || format!("{error:#}"));
        }
    }

    /// Prints what a part has measured, what there is to say to that, and its checks.
    pub(crate) fn show(&mut self, table: &Table, remarks: &[String]) {
        self.console.table(table);
        for remark in remarks {
            self.console.remark(remark);
        }
        self.print_checks();
    }

    /// Prints the checks that have not been printed.
    pub(crate) fn print_checks(&mut self) {
        let checks = self.findings.checks();
        for check in &checks[self.printed..] {
            self.console.check(check);
        }
        self.printed = checks.len();
    }

    /// Prints all checks once more with their totals. Whether all hold.
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
