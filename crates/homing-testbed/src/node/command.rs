//! The command that starts a node.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Duration;

use crate::process::scratch::Scratch;

/// The command that starts a node.
///
/// When a node is ready, it prints a line to its standard output that begins with `ready `. The rest
/// of the line is for the caller, for example the node's address.
///
/// ```no_run
/// # async fn example() -> homing_testbed::Result<()> {
/// use homing_testbed::NodeCommand;
///
/// let node = NodeCommand::new("target/debug/examples/shop")
///     .arg("--port=0")
///     .env("HOMING_REGION", "syd")
///     .start()
///     .await?;
/// println!("it listens on {}", node.ready_line().await);
/// node.kill().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is started"]
pub struct NodeCommand {
    pub(super) name: String,
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, Option<OsString>>,
    pub(super) ready_prefix: String,
    pub(super) ready_timeout: Duration,
    pub(super) scratch: Option<Scratch>,
}

impl NodeCommand {
    /// Creates a command that runs `program` in the current folder, with the environment of this
    /// process. `PATH` is searched for a program without a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            name: "node".to_owned(),
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            ready_prefix: READY_PREFIX.to_owned(),
            ready_timeout: READY_TIMEOUT,
            scratch: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let value = Some(value.as_ref().to_owned());
        self.environment.insert(name.as_ref().to_owned(), value);
        self
    }

    /// Sets environment variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        variables.into_iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Removes an environment variable of this process from the node's environment.
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Sets the name of the node, for errors and for the file name of its log. Default: `node`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how the ready line begins. Default: `ready `.
    pub fn with_ready_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.ready_prefix = prefix.into();
        self
    }

    /// Sets how long [`start`](Self::start) waits for the ready line. Default: 60 s.
    pub fn with_ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = limit;
        self
    }

    /// Puts the node's log into this scratch, and ends the node with it. Default: a new scratch.
    pub fn with_scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Sets a variable, or removes one of this process, unless the command sets or removes it already.
    pub(crate) fn default_env(mut self, name: OsString, value: Option<OsString>) -> Self {
        self.environment.entry(name).or_insert(value);
        self
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

const READY_PREFIX: &str = "ready ";

/// Enough for a node in a debug build on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
