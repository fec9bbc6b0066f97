//! The processes of a database server, all stopped at once, which the testbed does not do.

use std::fs;

use anyhow::{Context, Result};
use homing_testbed::Postgres;
use rustix::process::{Pid, Signal, kill_process};

/// The processes of a server that is stopped (SIGSTOP). They go on when this is dropped.
#[derive(Debug)]
pub(crate) struct Stopped(Vec<Pid>);

impl Stopped {
    pub(crate) fn stop(server: &Postgres) -> Result<Self> {
        let stopped = Self(processes(server)?);
        stopped.signal(Signal::STOP);
        Ok(stopped)
    }

    /// Signals all of them. Those that have ended are left out.
    fn signal(&self, signal: Signal) {
        for process in &self.0 {
            let _ = kill_process(*process, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}

/// Returns the server's process, and its children. Reads `/proc`, so Linux only.
fn processes(server: &Postgres) -> Result<Vec<Pid>> {
    let file = server.data_directory().join("postmaster.pid");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let number = text.lines().next().context("postmaster.pid is empty")?.trim().to_owned();
    let file = format!("/proc/{number}/task/{number}/children");
    let children = fs::read_to_string(&file).with_context(|| file.clone())?;
    let numbers = std::iter::once(number.as_str()).chain(children.split_whitespace());
    let pid = |number: &str| number.parse().ok().and_then(Pid::from_raw);
    Ok(numbers.filter_map(pid).collect())
}
