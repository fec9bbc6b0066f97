//! That each feature of each crate builds alone, and every crate without any.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::cargo::{cargo, packages, run};

pub(crate) fn check() -> Result<()> {
    for package in packages::<Package>()? {
        if package.features.is_empty() {
            continue;
        }
        for feature in package.alone() {
            run(cargo().args(["check", "--quiet", "--package", &package.name, "--no-default-features"]).args(feature))?;
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    features: BTreeMap<String, Vec<String>>,
}

impl Package {
    /// The arguments that choose no feature, and those that choose each.
    fn alone(&self) -> impl Iterator<Item = Vec<String>> {
        let chosen = self.features.keys().filter(|feature| *feature != "default");
        std::iter::once(Vec::new()).chain(chosen.map(|feature| vec!["--features".to_owned(), feature.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_chosen_alone_and_so_is_none() {
        let features = ["default", "time", "uuid"].map(|feature| (feature.to_owned(), Vec::new()));
        let package = Package { name: "homing".to_owned(), features: features.into() };
        let arguments: Vec<_> = package.alone().map(|arguments| arguments.join(" ")).collect();
        assert_eq!(arguments, ["", "--features time", "--features uuid"]);
    }

    #[test]
    fn the_packages_of_the_workspace_are_found() {
        let packages: Vec<Package> = packages().unwrap();
        let homing = packages.iter().find(|package| package.name == "homing").unwrap();
        assert!(homing.features.contains_key("uuid"));
    }
}
