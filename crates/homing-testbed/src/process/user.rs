//! The user that PostgreSQL runs as.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{AtPath as _, Error, Result};

/// The user that a program runs as.
///
/// PostgreSQL refuses to run as root. If this process is root, PostgreSQL runs as the user
/// `postgres`, or as `nobody` on a system without that user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum User {
    /// The user of this process.
    Same,
    /// Another user.
    Other { uid: u32, gid: u32 },
}

impl User {
    pub(crate) fn for_postgres() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Same);
        }
        CANDIDATES.into_iter().find_map(Self::named).ok_or_else(|| {
            Error::misuse(
                "PostgreSQL refuses to run as root, and the system has neither a user `postgres` nor a user \
                 `nobody` to run it as; run this program as an ordinary user",
            )
        })
    }

    /// Makes `command` run as this user.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or folder to this user.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid)).at("give away", path),
        }
    }

    /// Checks that this user can reach `folder`, which requires the search permission on every folder
    /// above it.
    pub(crate) fn check_reaches(self, folder: &Path) -> Result<()> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(folder);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut command);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::misuse(format!(
                "the user that PostgreSQL runs as cannot reach {}; put the testbed below a folder that every user \
                 can enter, with TMPDIR or Scratch::below",
                folder.display()
            ))),
            Err(error) => Err(cannot_run_shell(error)),
        }
    }

    fn named(name: &str) -> Option<Self> {
        let number = |option: &str| -> Option<u32> {
            let output = Command::new("id").args([option, name]).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().parse().ok())?
        };
        Some(Self::Other { uid: number("-u")?, gid: number("-g")? })
    }
}

pub(crate) fn cannot_run_shell(error: io::Error) -> Error {
    Error::io("cannot run /bin/sh", error)
}

const CANDIDATES: [&str; 2] = ["postgres", "nobody"];
