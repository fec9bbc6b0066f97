//! The results of a run.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The checks and figures of a run, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    checks: Vec<Check>,
    figures: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// Why it failed; `None` if it holds.
    pub(crate) failure: Option<String>,
}

impl Findings {
    pub(crate) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Adds a figure. The name ends with the unit, as in `syd.insert_p50_ms`.
    pub(crate) fn figure(&mut self, name: impl Into<String>, figure: f64) {
        // A figure that was not measured is NaN, which JSON cannot hold.
        if figure.is_finite() {
            let rounded = (figure * 1e6).round() / 1e6;
            self.figures.insert(name.into(), json!(rounded));
        }
    }

    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub(crate) fn failed(&self) -> usize {
        self.checks.iter().filter(|check| check.failure.is_some()).count()
    }

    /// Returns `{"checks": [{"name", "ok"}], "figures": {NAME: number}}`; a failed check has `failure` too.
    pub(crate) fn json(&self) -> Value {
        let check = |Check { name, failure }: &Check| match failure {
            None => json!({ "name": name, "ok": true }),
            Some(failure) => json!({ "name": name, "ok": false, "failure": failure }),
        };
        json!({ "checks": self.checks.iter().map(check).collect::<Vec<_>>(), "figures": self.figures })
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = format!("{:#}\n", self.json());
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_has_checks_and_figures() {
        let mut findings = Findings::default();
        findings.add(Check { name: "reads are local".to_owned(), failure: None });
        findings.add(Check { name: "one round trip".to_owned(), failure: Some("two".to_owned()) });
        findings.figure("syd.read_p50_ms", 0.123_456_7);
        findings.figure("syd.insert_p50_ms", f64::NAN);
        let expected = json!({
            "checks": [
                { "name": "reads are local", "ok": true },
                { "name": "one round trip", "ok": false, "failure": "two" },
            ],
            "figures": { "syd.read_p50_ms": 0.123_457 },
        });
        assert_eq!(findings.json(), expected);
        assert_eq!(findings.failed(), 1);
    }
}
