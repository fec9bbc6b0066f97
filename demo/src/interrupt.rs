//! Ctrl-C and SIGTERM.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask this process to end. Once this exists, they no longer end it by themselves.
#[derive(Debug)]
pub(crate) struct Interrupt {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes at the next signal.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Returns the output of `work`, or `None` if a signal comes first. Then `work` is dropped, and a line says so.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            () = self.wait() => {
                eprintln!("\ninterrupted: ending everything");
                None
            }
        }
    }
}

/// Returns the exit code of an interrupted run. Everything that the run started must have ended.
pub(crate) fn interrupted() -> ExitCode {
    eprintln!("everything has ended and is removed");
    ExitCode::from(INTERRUPTED)
}

/// The exit code that a shell reports for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;
