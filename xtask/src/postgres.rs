//! PostgreSQL's programs: found, or installed with the system's package manager.

mod package_manager;
mod privilege;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use homing_testbed::Binaries;

pub(crate) use self::package_manager::PackageManager;
pub(crate) use self::privilege::Privilege;

/// PostgreSQL's programs, installed now if this machine has none.
///
/// Nothing is installed where `HOMING_PG_BIN` says which ones to use. Installing starts no server and makes no
/// database cluster on this machine.
pub(crate) fn ensure() -> Result<Binaries> {
    match Binaries::find() {
        Err(error) if error.is_postgres_missing() => {
            install()?;
            Binaries::find().context("PostgreSQL was installed, but is still not found")
        }
        found => Ok(found?),
    }
}

fn install() -> Result<()> {
    let Some(manager) = PackageManager::detect(on_path) else {
        bail!(
            "PostgreSQL is not installed, and this system has no package manager known to xtask: install \
             PostgreSQL's server programs, or {OTHERWISE}"
        );
    };
    let by_hand = manager.by_hand();
    let Some(privilege) = Privilege::for_installing(manager) else {
        bail!(
            "PostgreSQL is not installed, and installing it takes root's rights: run `{by_hand}` as root, or {OTHERWISE}"
        );
    };
    eprintln!("PostgreSQL is not installed: installing it now, as by `{by_hand}`");
    let status = shell(privilege)
        .args(["-c", manager.script()])
        .stdin(Stdio::null())
        // What we print ourselves goes to stdout; this does not belong there.
        .stdout(std::io::stderr())
        .status()
        .context("cannot run the package manager")?;
    if !status.success() {
        bail!(
            "PostgreSQL is not installed, and installing it failed (see above): try `{by_hand}` yourself, or {OTHERWISE}"
        );
    }
    Ok(())
}

pub(crate) fn shell(privilege: Privilege) -> Command {
    match privilege {
        Privilege::Own => Command::new("sh"),
        Privilege::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "sh"]);
            command
        }
        Privilege::SudoWithPassword => {
            let mut command = Command::new("sudo");
            command.arg("sh");
            command
        }
    }
}

pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The end of every sentence that says PostgreSQL cannot be installed.
const OTHERWISE: &str = "set HOMING_PG_BIN to the folder that holds PostgreSQL's programs (initdb, postgres, ...)";
