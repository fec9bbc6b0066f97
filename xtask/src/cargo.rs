//! Cargo and the clone it works on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Returns the root of the clone.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Returns the cargo that runs this program, in the root of the clone.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs the command to its end, and returns an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) is_published: bool,
    pub(crate) features: Vec<String>,
}

impl Package {
    /// Returns all packages of the workspace, as cargo lists them.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed ({})", output.status);
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        packages.map(|package| Self::parse(package).context("cargo metadata misses a field")).collect()
    }

    /// Returns the folder of its manifest.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(root())
    }

    fn parse(package: &Value) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            description: package["description"].as_str().map(str::to_owned),
            manifest_path: package["manifest_path"].as_str()?.into(),
            // The registries it may be published to; null stands for any.
            is_published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
            features: package["features"].as_object()?.keys().cloned().collect(),
        })
    }
}

/// Returns whether cargo has this subcommand.
pub(crate) fn has_subcommand(subcommand: &str) -> bool {
    cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns an error that says how to get the component if cargo has no such subcommand.
pub(crate) fn require_component(subcommand: &str, component: &str) -> Result<()> {
    if !has_subcommand(subcommand) {
        bail!("{component} is not installed: add it with `rustup component add {component}`");
    }
    Ok(())
}

/// Returns the command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn shown_command_omits_its_path() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["doc", "--no-deps"]);
        assert_eq!(shown(&command), "cargo doc --no-deps");
    }

    #[test]
    fn missing_component_says_how_to_get_it() {
        let error = require_component("no-such-subcommand", "nothing").unwrap_err();
        assert_eq!(error.to_string(), "nothing is not installed: add it with `rustup component add nothing`");
    }

    #[test]
    fn failing_command_is_shown() {
        let error = run(cargo().args(["build", "--no-such-option"]).stderr(Stdio::null())).unwrap_err();
        assert_eq!(error.to_string(), "cargo build --no-such-option failed (exit status: 1)");
    }

    #[test]
    fn packages_have_what_cargo_lists() {
        let packages = Package::all().unwrap();
        let package = |name: &str| packages.iter().find(|package| package.name == name).unwrap();
        assert!(!package("xtask").is_published);
        assert!(package("homing").is_published);
        assert!(package("homing").features.iter().any(|feature| feature == "uuid"));
    }
}
