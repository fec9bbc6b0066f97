//! An application node that runs as a process.

mod command;
mod output;

use std::{process::ExitStatus, time::Duration};

use rustix::process::Signal;
use tokio::{sync::Mutex, time::timeout};

pub use self::command::NodeCommand;
use self::output::OutputReader;
use crate::error::{Error, Result};
use crate::process::log::LogFile;
use crate::process::scratch::{ProcessKind, Scratch};
use crate::process::user::User;
use crate::process::{self, Launch, Process};
use crate::wait::within;

/// An application node. Its drop kills it.
///
/// Signals go to the node's process group, so that a node behind a wrapper such as `cargo run` gets
/// them too.
#[derive(Debug)]
pub struct NodeProcess {
    command: NodeCommand,
    /// Locked while the node starts or ends.
    running: Mutex<RunningNode>,
    log: LogFile,
    /// The last field: its drop waits for the process, which the fields above end.
    scratch: Scratch,
}

impl NodeCommand {
    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// - [`is_exited`](crate::Error::is_exited), with the end of its log, if the node ends before it
    ///   is ready, or if the program does not exist.
    /// - [`is_timed_out`](crate::Error::is_timed_out) if the node is not ready in time.
    /// - An I/O error, for which no predicate holds, if the folder or the process cannot be created.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node is killed.
    pub async fn start(self) -> Result<NodeProcess> {
        let scratch = Scratch::given_or_new(self.scratch.clone()).await?;
        let mut log = scratch.unique(&self.name).into_os_string();
        log.push(".log");
        let log = LogFile::new(log.into());
        let running = RunningNode::start(&self, &scratch, &log).await?;
        Ok(NodeProcess { command: self, running: Mutex::new(running), log, scratch })
    }
}

impl NodeProcess {
    /// Returns the name from [`NodeCommand::with_name`].
    pub fn name(&self) -> &str {
        &self.command.name
    }

    /// Returns the rest of the ready line, after the prefix.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready_line(&self) -> String {
        self.running.lock().await.ready_line.clone()
    }

    /// Returns the process number, which a restart changes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn pid(&self) -> u32 {
        self.running.lock().await.process.pid()
    }

    /// Returns whether the process has not ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_running(&self) -> bool {
        self.running.lock().await.process.status().is_none()
    }

    /// Returns the log of the node, which has both of its outputs.
    pub fn log(&self) -> LogFile {
        self.log.clone()
    }

    /// Kills the node with SIGKILL and waits for its end. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// An I/O error if the process cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node still ends.
    pub async fn kill(&self) -> Result<()> {
        let running = self.running.lock().await;
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        Ok(())
    }

    /// Sends SIGTERM and waits for the node's end. Kills the node after `limit`.
    ///
    /// # Errors
    ///
    /// - [`is_timed_out`](Error::is_timed_out) if the node had to be killed.
    /// - An I/O error, for which no predicate holds, if the process cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node has got its SIGTERM and is not killed.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        let running = self.running.lock().await;
        running.process.signal(Signal::TERM)?;
        if let Ok(status) = timeout(limit, running.process.exited()).await {
            return Ok(status);
        }
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        Err(Error::timed_out(format!("node {} did not end within {limit:?} of SIGTERM, and was killed", self.name())))
    }

    /// Stops the node with SIGSTOP and waits until it has stopped. Its connections stay open, and it
    /// does not answer on them.
    ///
    /// # Errors
    ///
    /// An I/O error if the process cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the node may be paused.
    pub async fn pause(&self) -> Result<()> {
        self.running.lock().await.process.pause().await
    }

    /// Continues the node with SIGCONT after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// An I/O error if the process cannot be signalled. No predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn resume(&self) -> Result<()> {
        self.running.lock().await.process.signal(Signal::CONT)
    }

    /// Kills the node if it runs, starts it again with the same command, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// - [`is_exited`](Error::is_exited), with the end of its log, if the node ends before it is
    ///   ready.
    /// - [`is_timed_out`](Error::is_timed_out) if it is not ready in time.
    /// - An I/O error, for which no predicate holds, if the old process cannot be signalled or the
    ///   new one cannot be started.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the old process is killed, and so is a new one.
    pub async fn restart(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        *running = RunningNode::start(&self.command, &self.scratch, &self.log).await?;
        Ok(())
    }
}

/// The process of a node that has become ready.
#[derive(Debug)]
struct RunningNode {
    process: Process,
    ready_line: String,
}

impl RunningNode {
    async fn start(command: &NodeCommand, scratch: &Scratch, log: &LogFile) -> Result<Self> {
        let launch = Launch {
            command: &command.command(),
            kind: ProcessKind::Group,
            user: User::Same,
            output: process::ChildOutput::Piped(log.open()?),
        };
        let (process, stdout) = launch.spawn(scratch)?;
        let stdout = stdout.expect("a piped output is there");
        let output = OutputReader::read(stdout, log.open()?, command.ready_prefix.clone());
        let complaint = format!("node {} has not printed a line with {:?}", command.name, command.ready_prefix);
        let ready = async {
            match output.ready_line().await {
                Some(ready_line) => Ok(ready_line),
                None => Err(ended(command, &process, log).await),
            }
        };
        let ready_line = within(command.ready_timeout, &complaint, ready).await?;
        Ok(Self { process, ready_line })
    }
}

/// Waits for the end of a node whose output has ended. A node may close its output and go on, but is
/// of no use then.
async fn ended(command: &NodeCommand, process: &Process, log: &LogFile) -> Error {
    let status = process.exited().await;
    let (name, tail) = (&command.name, log.tail());
    Error::exited(format!("node {name} ended with {status} before it was ready:\n{tail}"))
}
