//! The programs that the nodes run.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use homing_testbed::NodeCommand;
use serde::Deserialize;

/// How the program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds the program of a package, with cargo's own progress, and returns its path.
pub(crate) fn build(package: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["build", "--package", package, "--message-format=json-render-diagnostics"]);
    match profile {
        // Together with this program, so that cargo chooses the same features as before and reuses what it built.
        Profile::Dev => command.arg("--package=homing-demo"),
        Profile::Release => command.arg("--release"),
    };
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut program = None;
    for message in serde_json::Deserializer::from_reader(stdout).into_iter::<Message>() {
        let message = message.with_context(|| format!("the messages of cargo build --package {package}"))?;
        if message.target.is_some_and(|target| target.name == package) {
            program = message.executable.or(program);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo build --package {package} failed ({status})");
    }
    program.with_context(|| format!("cargo build --package {package} has built no program"))
}

/// Returns the command of a node that is a process of this program, without what it would take for its settings among the variables
/// of this process.
pub(crate) fn node_command(program: &Path, subcommand: &str) -> NodeCommand {
    let foreign = std::env::vars_os().map(|(name, _)| name);
    let foreign = foreign.filter(|name| FOREIGN.iter().any(|foreign| name.to_string_lossy().starts_with(foreign)));
    foreign.fold(NodeCommand::new(program).arg(subcommand), NodeCommand::without_env)
}

/// What the settings of nodes begin with.
const FOREIGN: [&str; 6] = ["HOMING_", "FLY_", "PRIMARY_REGION", "DATABASE_URL", "FAULTS_", "BENCH_"];

/// A message of cargo about something that it built: <https://doc.rust-lang.org/cargo/reference/external-tools.html>
#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}
