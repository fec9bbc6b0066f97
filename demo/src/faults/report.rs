//! The results of a run: a table, and a file.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::checker::violation::Kind;
use super::course::Found;
use super::phase::Counts;
use crate::output::console::Console;
use crate::output::table::{Table, milliseconds};

/// Prints the table, and returns whether every promise was kept.
pub(super) fn print(console: &Console, found: &Found, skipped: &[(&str, &str)]) -> bool {
    console.heading("Faults");
    let mut table = Table::new(&HEADINGS);
    for (name, counts) in &found.table {
        table.row(row(name, counts));
    }
    let totals = totals(found);
    table.row(row("all", &totals));
    console.table(&table);
    for (name, reason) in skipped {
        console.line(format!("skipped: {name}: {reason}"));
    }
    for failure in &found.failures {
        console.line(format!("FAILED {failure}"));
    }
    for violation in found.violations.iter().take(MAX_SHOWN) {
        console.line(format!("FAILED {}: {}", violation.kind.name(), violation.evidence));
    }
    if let Some(more) = found.violations.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        console.line(format!("and {more} more"));
    }
    let passed = totals.is_clean() && found.failures.is_empty();
    let kinds = Kind::ALL.map(|kind| format!("{} {}", totals.violations(kind), kind.name())).join(", ");
    console.verdict(
        passed,
        &format!("{} acknowledged writes: {kinds}, {} outcome unknown", totals.acknowledged, totals.unknown),
    );
    passed
}

/// Writes `{"seed", "faults": [{"name", COLUMN: number}], "all": {COLUMN: number}, "skipped": [NAME]}`.
pub(super) fn write(file: &Path, seed: u64, found: &Found, skipped: &[(&str, &str)]) -> Result<()> {
    let faults: Vec<_> = found.table.iter().map(|(name, counts)| columns(name, counts)).collect();
    let evidence: Vec<_> = found.violations.iter().take(MAX_WRITTEN).map(|violation| &violation.evidence).collect();
    let report = json!({
        "seed": seed,
        "faults": faults,
        "all": columns("all", &totals(found)),
        "skipped": skipped.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "failures": found.failures,
        "evidence": evidence,
    });
    std::fs::write(file, format!("{report:#}\n")).with_context(|| format!("cannot write {}", file.display()))
}

fn totals(found: &Found) -> Counts {
    found.table.iter().fold(Counts::default(), |mut totals, (_, counts)| {
        totals.add(counts);
        totals
    })
}

fn row(name: &str, counts: &Counts) -> Vec<String> {
    let numbers = [
        counts.phases,
        counts.operations,
        counts.acknowledged,
        counts.unknown,
        counts.rejected,
        counts.not_sent,
        counts.open,
        counts.lost_by_database,
    ];
    let violations = Kind::ALL.map(|kind| counts.violations(kind));
    let stall = milliseconds(counts.longest_stall as f64 / 1e3);
    let numbers = numbers.into_iter().chain(violations).map(|number| number.to_string());
    std::iter::once(name.to_owned()).chain(numbers).chain([stall]).collect()
}

fn columns(name: &str, counts: &Counts) -> Value {
    let mut columns = json!({
        "name": name,
        "times": counts.phases,
        "operations": counts.operations,
        "acknowledged": counts.acknowledged,
        "unknown": counts.unknown,
        "rejected": counts.rejected,
        "not_sent": counts.not_sent,
        "open": counts.open,
        "lost_by_database": counts.lost_by_database,
        "failed_reads": counts.failed_reads,
        "ghosts": counts.ghosts,
        "longest_stall_ms": counts.longest_stall as f64 / 1e3,
    });
    columns["errors"] = json!(counts.errors);
    for kind in Kind::ALL {
        columns[kind.name().replace(' ', "_")] = counts.violations(kind).into();
    }
    columns
}

const HEADINGS: [&str; 17] = [
    "fault",
    "times",
    "operations",
    "acknowledged",
    "unknown",
    "rejected",
    "not sent",
    "open",
    "lost by the database",
    "lost",
    "doubled",
    "stale",
    "back",
    "sum",
    "fate",
    "unsettled",
    "longest stall",
];

/// How many violations are printed, and how many are written.
const MAX_SHOWN: usize = 20;
const MAX_WRITTEN: usize = 1_000;
