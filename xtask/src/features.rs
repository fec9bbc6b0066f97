//! That each feature of each crate builds alone, and every crate without any.

use anyhow::Result;

use crate::cargo::{Package, cargo, run};

pub(crate) fn check() -> Result<()> {
    for package in Package::all()?.iter().filter(|package| !package.features.is_empty()) {
        for feature in alone(package) {
            run(cargo().args(["check", "--quiet", "--package", &package.name, "--no-default-features"]).args(feature))?;
        }
    }
    Ok(())
}

/// Returns the arguments that choose no feature, and those that choose each.
fn alone(package: &Package) -> impl Iterator<Item = Vec<String>> {
    let chosen = package.features.iter().filter(|feature| *feature != "default");
    std::iter::once(Vec::new()).chain(chosen.map(|feature| vec!["--features".to_owned(), feature.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_each_feature_alone() {
        let mut packages = Package::all().unwrap();
        let package = packages.iter_mut().find(|package| package.name == "homing").unwrap();
        package.features = ["default", "time", "uuid"].map(str::to_owned).into();
        let arguments: Vec<_> = alone(package).map(|arguments| arguments.join(" ")).collect();
        assert_eq!(arguments, ["", "--features time", "--features uuid"]);
    }
}
