//! The house rules that a machine can check and the compiler does not.

mod circles;
mod markdown;
mod package;
mod source;

use anyhow::{Context, Result, bail};

use crate::cargo::{Package, root};

/// Checks all of them; the error names every place that breaks one.
pub(crate) fn check() -> Result<()> {
    let (readme, map) = (read("README.md")?, read("docs/architecture.md")?);
    let packages = Package::all()?;
    let mut broken = Vec::new();
    let mut folders = vec![root().to_owned()];
    for package in &packages {
        broken.extend(package::described_as_in(package, &readme));
        broken.extend(package::inherits_lints(package)?);
        let src = package.folder().join("src");
        if src.is_dir() {
            let circles = circles::check_crate(&src)?;
            broken
                .extend(circles.iter().map(|circle| format!("{}: modules import each other: {circle}", package.name)));
            folders.push(src);
        }
    }
    for folder in ["crates", "demo", "deploy", "examples", "xtask"] {
        source::check_folder(&root().join(folder), &mut broken)?;
    }
    let missing: Vec<_> = markdown::missing_paths(&map, &folders).collect();
    if !missing.is_empty() {
        broken.push(format!("docs/architecture.md names what is not there: {}", missing.join(", ")));
    }
    if !broken.is_empty() {
        bail!("house rules are broken:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(root().join(file)).with_context(|| file.to_owned())
}
