//! A child process. Several callers may wait for its end, and it is never signalled after that.
//!
//! [`Launch::spawn`] starts a thread for each child, the reaper. It owns the child, waits for its
//! end, publishes the exit status in a `watch` channel, and ends with the child.

pub(crate) mod log;
pub(crate) mod scratch;
pub(crate) mod user;

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::scratch::{ProcessKind, Scratch};
use self::user::{User, cannot_run_shell};
use crate::error::{Error, Result};

/// A child that runs or has ended. Its drop signals a running child to end, and does not wait.
///
/// A thread reaps it, so it needs no async runtime, and tests with different runtimes may share it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    kind: ProcessKind,
    /// Whether the process number is free again. Locked for a signal, or for the last wait.
    reaped: Arc<Mutex<bool>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    fn watch(child: Child, kind: ProcessKind, record: PathBuf) -> Self {
        let pid = Pid::from_child(&child);
        let reaped = Arc::new(Mutex::new(false));
        let (sender, status) = watch::channel(None);
        let reaper = Reaper { child, pid, record, reaped: Arc::clone(&reaped), sender };
        thread::spawn(move || reaper.run());
        Self { pid, kind, reaped, status }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Signals a PostgreSQL server, or the whole process group of anything else. Does nothing if the
    /// process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let reaped = lock(&self.reaped);
        if *reaped {
            return Ok(());
        }
        let result = match self.kind {
            ProcessKind::Group => kill_process_group(self.pid, signal),
            ProcessKind::Postgres => kill_process(self.pid, signal),
        };
        match result {
            // macOS answers EPERM or ESRCH for a group whose last member is waiting to be reaped.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => result.map_err(|error| {
                Error::io(format!("cannot send signal {} to process {}", signal.as_raw(), self.pid()), error.into())
            }),
        }
    }

    /// Sends SIGSTOP and waits until the process has stopped or ended: until then, it might still act
    /// on another signal.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = async {
            while self.status().is_none() && !self.has_stopped() {
                sleep(STOP_POLL_INTERVAL).await;
            }
        };
        // A process that has just called vfork(2) stops only once its child runs a program, and the
        // child, of the same group, has been stopped before. The process does not run either.
        let _ = timeout(STOP_TIMEOUT, stopped).await;
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        waitid(WaitId::Pid(self.pid), options).is_ok_and(|status| status.is_some())
    }

    /// Returns how the process ended, if it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits for the end of the process. Cancel safe.
    pub(crate) async fn exited(&self) -> ExitStatus {
        let mut status = self.status.clone();
        let result = status.wait_for(Option::is_some).await.map(|status| *status);
        result.ok().flatten().unwrap_or(ExitStatus::from_raw(UNKNOWN_STATUS))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let signal = match self.kind {
            ProcessKind::Group => Signal::KILL,
            ProcessKind::Postgres => Signal::QUIT,
        };
        // If this fails, the janitor ends the process.
        let _ = self.signal(signal);
    }
}

/// A program to start, and how to start it.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) command: &'a Command,
    pub(crate) kind: ProcessKind,
    pub(crate) user: User,
    pub(crate) output: ChildOutput,
}

impl Launch<'_> {
    /// Starts the program in its own process group and records it in `scratch`. Also returns the
    /// child's standard output if that is [`ChildOutput::Piped`].
    pub(crate) fn spawn(self, scratch: &Scratch) -> Result<(Process, Option<ChildStdout>)> {
        let (mut wrapped, record) = scratch.register(self.command, self.kind)?;
        wrapped.process_group(0);
        self.user.apply(&mut wrapped);
        self.output.apply(&mut wrapped);
        let mut child = wrapped.spawn().map_err(cannot_run_shell)?;
        let stdout = child.stdout.take();
        Ok((Process::watch(child, self.kind, record), stdout))
    }
}

/// The destination of a child's two outputs.
#[derive(Debug)]
pub(crate) enum ChildOutput {
    /// Both into this file, opened for appending.
    Log(File),
    /// Standard output into a pipe to this process, standard error into this file.
    Piped(File),
}

impl ChildOutput {
    fn apply(self, command: &mut Command) {
        match self {
            Self::Log(file) => {
                match file.try_clone() {
                    Ok(clone) => command.stdout(clone),
                    Err(_) => command.stdout(Stdio::null()),
                };
                command.stderr(file);
            }
            Self::Piped(file) => {
                command.stdout(Stdio::piped()).stderr(file);
            }
        }
    }
}

/// Owns the child until it has ended.
struct Reaper {
    child: Child,
    pid: Pid,
    record: PathBuf,
    reaped: Arc<Mutex<bool>>,
    sender: watch::Sender<Option<ExitStatus>>,
}

impl Reaper {
    fn run(mut self) {
        // The first wait does not free the process number, so a signal still cannot hit another
        // process. The second one, under the lock, frees it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(self.pid), options) {}
        let mut reaped = lock(&self.reaped);
        let status = self.child.wait();
        *reaped = true;
        drop(reaped);
        // The scratch folder may be gone already, and the record with it.
        let _ = std::fs::remove_file(&self.record);
        let status = status.unwrap_or(ExitStatus::from_raw(UNKNOWN_STATUS));
        self.sender.send_replace(Some(status));
    }
}

fn lock(mutex: &Mutex<bool>) -> MutexGuard<'_, bool> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stopping takes some microseconds, unless the process waits for a disk.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Far longer than stopping takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Exit code 255, for a child that other code of this process has reaped.
const UNKNOWN_STATUS: i32 = 255 << 8;
