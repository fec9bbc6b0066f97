//! Ctrl-C and SIGTERM.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The wish to end. From its making on, the signals no longer end the process by themselves.
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

    /// The outcome of `work`, or `None` if a signal came first; `work` is dropped then, and the one at the terminal
    /// told.
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

/// For a run that was interrupted; everything it had started must have ended.
pub(crate) fn interrupted() -> ExitCode {
    eprintln!("everything has ended and is removed");
    ExitCode::from(INTERRUPTED)
}

/// What a shell reports of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;
