//! Cargo and the clone it works on.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The root of the clone.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// The cargo that runs us, in the root of the clone.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs the command to its end; an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// The packages of the workspace, as cargo tells of them.
pub(crate) fn packages<T: DeserializeOwned>() -> Result<Vec<T>> {
    #[derive(Deserialize)]
    struct Metadata<T> {
        packages: Vec<T>,
    }
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed ({})", output.status);
    }
    let metadata: Metadata<T> = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(metadata.packages)
}

/// An error that says how to get it, if cargo has no such subcommand.
pub(crate) fn require_component(subcommand: &str, component: &str) -> Result<()> {
    let present = cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !present {
        bail!("{component} is not installed: add it with `rustup component add {component}`");
    }
    Ok(())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn a_command_is_shown_without_the_path_of_its_program() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["doc", "--no-deps"]);
        assert_eq!(shown(&command), "cargo doc --no-deps");
    }

    #[test]
    fn a_missing_component_is_named_with_the_way_to_get_it() {
        let error = require_component("no-such-subcommand", "nothing").unwrap_err();
        assert_eq!(error.to_string(), "nothing is not installed: add it with `rustup component add nothing`");
    }

    #[test]
    fn a_failing_command_is_an_error_that_shows_it() {
        let error = run(cargo().args(["build", "--no-such-option"]).stderr(Stdio::null())).unwrap_err();
        assert_eq!(error.to_string(), "cargo build --no-such-option failed (exit status: 1)");
    }
}
