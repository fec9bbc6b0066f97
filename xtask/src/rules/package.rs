//! Rules on the packages of the workspace.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::markdown;
use crate::cargo::packages;

/// A package of the workspace, as cargo tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    name: String,
    description: Option<String>,
    manifest_path: PathBuf,
    /// The registries it may be published to: none for what is only used here.
    publish: Option<Vec<String>>,
}

impl Package {
    pub(super) fn all() -> Result<Vec<Self>> {
        packages()
    }

    /// A published crate has a row in the README's table, and every row says what the crate's description says.
    pub(super) fn described_as_in(&self, readme: &str) -> Option<String> {
        let name = &self.name;
        let Some(description) = &self.description else {
            return Some(format!("{name}: Cargo.toml has no description"));
        };
        match markdown::row(readme, name) {
            Some(row) if row == *description => None,
            Some(row) => Some(format!("{name}: Cargo.toml says \"{description}\", README.md says \"{row}\"")),
            None if self.is_published() => Some(format!("{name}: no row in README.md's table")),
            None => None,
        }
    }

    /// The workspace's lints hold everywhere.
    pub(super) fn inherits_lints(&self) -> Result<Option<String>> {
        let manifest =
            std::fs::read_to_string(&self.manifest_path).with_context(|| self.manifest_path.display().to_string())?;
        let inherits = manifest.contains("[lints]\nworkspace = true\n");
        Ok((!inherits).then(|| format!("{}: Cargo.toml lacks [lints] workspace = true", self.name)))
    }

    fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str =
        "| crate | what it is |\n|---|---|\n| [`homing`](crates/homing) | Reads near, `writes` far |\n";

    fn package(name: &str, description: &str, publish: Option<Vec<String>>) -> Package {
        Package {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            manifest_path: PathBuf::new(),
            publish,
        }
    }

    #[test]
    fn a_description_must_equal_the_row() {
        let good = package("homing", "Reads near, writes far", None);
        assert_eq!(good.described_as_in(README), None);
        let bad = package("homing", "Reads near", None);
        assert!(bad.described_as_in(README).unwrap().contains("README.md says"));
    }

    #[test]
    fn only_a_published_crate_must_have_a_row() {
        let published = package("homing-rpc", "Calls", None);
        assert!(published.described_as_in(README).unwrap().contains("no row"));
        let private = package("xtask", "Commands", Some(Vec::new()));
        assert_eq!(private.described_as_in(README), None);
    }

    #[test]
    fn cargo_tells_of_this_package() {
        let packages = Package::all().unwrap();
        let xtask = packages.iter().find(|package| package.name == "xtask").unwrap();
        assert!(!xtask.is_published());
        assert_eq!(xtask.inherits_lints().unwrap(), None);
    }
}
