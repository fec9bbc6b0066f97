//! The janitor, a child that outlives this process to clean up.
//!
//! [`Scratch::below`](super::Scratch::below) starts one for each folder. It ends when the folder and
//! its processes are gone. It waits at most 4 s for servers to end before it kills them, and at most
//! 5 s for the last children that still write into the folder.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{error::Result, process::user::cannot_run_shell};

/// A `/bin/sh` that runs `janitor.sh`. It reads the script from a pipe and waits for the end of the
/// pipe afterwards.
///
/// The drop closes the pipe and blocks until the janitor has cleaned up and ended. If this process
/// ends in any other way, the kernel closes the pipe.
#[derive(Debug)]
pub(super) struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts a janitor for a folder that does not exist yet, so that the folder never exists without
    /// a janitor.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.arg("-s").arg(folder).current_dir("/").stdin(Stdio::piped());
        // No inherited output: a reader of our output must not wait for the janitor.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(cannot_run_shell)?;
        let script = with_started(include_str!("janitor.sh"));
        let stdin = child.stdin.as_mut().expect("it is piped");
        stdin.write_all(script.as_bytes()).map_err(cannot_run_shell)?;
        Ok(Self { child })
    }

    /// Kills the janitor before it cleans up.
    pub(super) fn dismiss(mut self) {
        // Only fails if the janitor has ended by itself.
        let _ = self.child.kill();
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for the janitor");
        }
    }
}

/// Returns a `/bin/sh` that runs `script`, which may call the function `started`.
pub(super) fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(with_started(script)).arg("homing-testbed");
    command
}

fn with_started(script: &str) -> String {
    format!("{}\n{script}", include_str!("started.sh"))
}
