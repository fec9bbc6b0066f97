//! An application node as a process of its own.

mod command;
mod output;

use std::{process::ExitStatus, time::Duration};

use rustix::process::Signal;
use tokio::{sync::Mutex, time::timeout};

pub use self::command::NodeCommand;
use self::output::OutputReader;
use crate::{
    error::{Error, Result},
    process::{
        self, Launch, Process,
        log::LogFile,
        scratch::{ProcessKind, Scratch},
        user::User,
    },
    wait::within,
};

/// A running application node. Dropping it kills it.
///
/// Signals go to the node's process group, so that a node started through a wrapper such as
/// `cargo run` gets them too.
#[derive(Debug)]
pub struct NodeProcess {
    command: NodeCommand,
    running: Mutex<RunningNode>,
    log: LogFile,
    /// Last, so that the process is told to end before this waits for it.
    scratch: Scratch,
}

impl NodeProcess {
    async fn start(command: NodeCommand, scratch: Scratch) -> Result<Self> {
        let mut log = scratch.unique(&command.name).into_os_string();
        log.push(".log");
        let log = LogFile::new(log.into());
        let running = RunningNode::start(&command, &scratch, &log).await?;
        Ok(Self { command, running: Mutex::new(running), log, scratch })
    }

    /// The name from [`NodeCommand::with_name`].
    pub fn name(&self) -> &str {
        &self.command.name
    }

    /// What followed the prefix on the line that said the node was ready.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready_line(&self) -> String {
        self.running.lock().await.ready_line.clone()
    }

    /// Its process number, which a restart changes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn pid(&self) -> u32 {
        self.running.lock().await.process.pid()
    }

    /// Whether it has not ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_running(&self) -> bool {
        self.running.lock().await.process.status().is_none()
    }

    /// What it has printed, on both outputs.
    pub fn log(&self) -> LogFile {
        self.log.clone()
    }

    /// Kills it (SIGKILL) and waits for its end. Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// The node goes on ending when the future is dropped.
    pub async fn kill(&self) -> Result<()> {
        let running = self.running.lock().await;
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has; kills it after `limit`.
    ///
    /// # Errors
    ///
    /// [`is_timed_out`](Error::is_timed_out) if it had to be killed.
    ///
    /// # Cancel safety
    ///
    /// The node may go on ending when the future is dropped, but is not killed.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        let running = self.running.lock().await;
        running.process.signal(Signal::TERM)?;
        if let Ok(status) = timeout(limit, running.process.exited()).await {
            return Ok(status);
        }
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        Err(Error::timed_out(format!("{} did not end within {limit:?} of SIGTERM", self.name())))
    }

    /// Stops it in its tracks (SIGSTOP) and waits until it stands: its connections stay open and
    /// nobody answers on them.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// The node may be paused when the future is dropped.
    pub async fn pause(&self) -> Result<()> {
        self.running.lock().await.process.pause().await
    }

    /// Lets it go on (SIGCONT) after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn resume(&self) -> Result<()> {
        self.running.lock().await.process.signal(Signal::CONT)
    }

    /// Kills it if it is running, starts it again with the same command and waits until it is
    /// ready.
    ///
    /// # Errors
    ///
    /// As [`NodeCommand::start`].
    ///
    /// # Cancel safety
    ///
    /// The node is killed or ended when the future is dropped.
    pub async fn restart(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        running.process.signal(Signal::KILL)?;
        running.process.exited().await;
        *running = RunningNode::start(&self.command, &self.scratch, &self.log).await?;
        Ok(())
    }
}

/// A node's process, after it has become ready.
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
        let complaint = format!("{} is not ready", command.name);
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

/// A node may close its output without ending, but is of no use then.
async fn ended(command: &NodeCommand, process: &Process, log: &LogFile) -> Error {
    let status = process.exited().await;
    let (name, tail) = (&command.name, log.tail());
    Error::exited(format!("{name} ended with {status} before it was ready:\n{tail}"))
}
