//! The child that outlives us to clean up.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{error::Result, process::user::cannot_run_shell};

/// A `/bin/sh` running `janitor.sh`, which it gets through the pipe that it waits on afterwards.
/// Dropping this closes the pipe and blocks until the janitor has cleaned up and ended; when this
/// process ends in any other way, the kernel closes the pipe.
#[derive(Debug)]
pub(super) struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts one for a folder that does not exist yet: no moment is left in which it exists
    /// and nobody would remove it.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.arg("-s").arg(folder).current_dir("/").stdin(Stdio::piped());
        // No inherited output: whoever reads ours to its end must not wait for the janitor.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(cannot_run_shell)?;
        let script = with_started(include_str!("janitor.sh"));
        let stdin = child.stdin.as_mut().expect("it is piped");
        stdin.write_all(script.as_bytes()).map_err(cannot_run_shell)?;
        Ok(Self { child })
    }

    /// Ends it without cleaning.
    pub(super) fn dismiss(mut self) {
        // Only fails if it has ended by itself.
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

/// `/bin/sh` about to run `script` with the function `started` at hand.
pub(super) fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(with_started(script)).arg("homing-testbed");
    command
}

fn with_started(script: &str) -> String {
    format!("{}\n{script}", include_str!("started.sh"))
}
