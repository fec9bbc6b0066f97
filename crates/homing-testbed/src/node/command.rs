//! What to run as a node, and how.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    process::Command,
    time::Duration,
};

use super::NodeProcess;
use crate::{error::Result, process::scratch::Scratch};

/// What to run as a node.
///
/// A node says that it is ready by printing a line that begins with `ready ` to its standard
/// output, followed by whatever the one who started it needs to know, such as its address.
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
    scratch: Option<Scratch>,
}

impl NodeCommand {
    /// Runs `program`, found through `PATH` unless it has a slash, in the current folder and with
    /// this process's environment.
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

    /// Keeps an environment variable of this process from the node.
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Names the node, in errors and in its log's file name. Default: `node`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The beginning of the line that says the node is ready. Default: `ready `.
    pub fn with_ready_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.ready_prefix = prefix.into();
        self
    }

    /// How long to wait for that line. Default: 60 s.
    pub fn with_ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = limit;
        self
    }

    /// Puts the node's log into this scratch and ends the node with it. Default: one of its own.
    pub fn with_scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`is_exited`](crate::Error::is_exited) with the end of its log if it ends before that, and
    /// [`is_timed_out`](crate::Error::is_timed_out) if it is not ready in time.
    ///
    /// # Cancel safety
    ///
    /// The node is killed when the future is dropped.
    pub async fn start(self) -> Result<NodeProcess> {
        let scratch = Scratch::given_or_new(self.scratch.clone()).await?;
        NodeProcess::start(self, scratch).await
    }

    /// Sets a variable, or keeps one of this process from the node, unless the caller has said
    /// something about it.
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

/// A node in a debug build on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
