//! Rules on the packages of the workspace.

use anyhow::{Context, Result};

use super::markdown;
use crate::cargo::Package;

/// Every published crate has a row in the README's table, and a row says what the crate's description says.
pub(super) fn described_as_in(package: &Package, readme: &str) -> Option<String> {
    let name = &package.name;
    let Some(description) = &package.description else {
        return Some(format!("{name}: Cargo.toml has no description"));
    };
    match markdown::row(readme, name) {
        Some(row) if row == *description => None,
        Some(row) => Some(format!("{name}: Cargo.toml says \"{description}\", README.md says \"{row}\"")),
        None if package.is_published => Some(format!("{name}: no row in README.md's table")),
        None => None,
    }
}

/// Every package has the workspace's lints.
pub(super) fn inherits_lints(package: &Package) -> Result<Option<String>> {
    let path = &package.manifest_path;
    let manifest = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let inherits = manifest.contains("[lints]\nworkspace = true\n");
    Ok((!inherits).then(|| format!("{}: Cargo.toml lacks [lints] workspace = true", package.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str =
        "| crate | what it is |\n|---|---|\n| [`homing`](crates/homing) | Reads near, `writes` far |\n";

    fn package(name: &str, description: &str, is_published: bool) -> Package {
        Package {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            manifest_path: "Cargo.toml".into(),
            is_published,
            features: Vec::new(),
        }
    }

    #[test]
    fn description_must_equal_the_row() {
        let good = package("homing", "Reads near, writes far", true);
        assert_eq!(described_as_in(&good, README), None);
        let bad = package("homing", "Reads near", true);
        assert!(described_as_in(&bad, README).unwrap().contains("README.md says"));
    }

    #[test]
    fn only_published_crates_need_rows() {
        let published = package("homing-rpc", "Calls", true);
        assert!(described_as_in(&published, README).unwrap().contains("no row"));
        let private = package("xtask", "Commands", false);
        assert_eq!(described_as_in(&private, README), None);
    }

    #[test]
    fn this_package_inherits_lints() {
        assert_eq!(inherits_lints(&package("xtask", "Commands", false)).unwrap(), None);
    }
}
