//! The house rules that a machine can check and the compiler does not.

mod markdown;
mod package;
mod source;

use anyhow::{Context, Result, bail};

use crate::cargo::{Package, root};

/// Checks all of them; the error names every place that breaks one.
pub(crate) fn check() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md")).context("README.md")?;
    let mut broken = Vec::new();
    for package in Package::all()? {
        broken.extend(package::described_as_in(&package, &readme));
        broken.extend(package::inherits_lints(&package)?);
    }
    for folder in ["crates", "demo", "deploy", "examples", "xtask"] {
        source::check_folder(&root().join(folder), &mut broken)?;
    }
    if !broken.is_empty() {
        bail!("house rules are broken:\n  {}", broken.join("\n  "));
    }
    Ok(())
}
