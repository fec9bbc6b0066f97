//! PostgreSQL's programs: found, or installed with the system's package manager.

mod package_manager;
mod privilege;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use self::package_manager::PackageManager;
pub(crate) use self::privilege::{Privilege, succeeds};

/// Installs PostgreSQL's programs if this machine has none.
///
/// Installs nothing if `HOMING_PG_BIN` names a folder: whoever runs them says what is wrong with it. Installing starts no
/// server and makes no database cluster on this machine.
pub(crate) fn ensure() -> Result<()> {
    if is_named() || is_installed() {
        return Ok(());
    }
    install()?;
    ensure!(is_installed(), "PostgreSQL was installed, but is still not found: {OTHERWISE}");
    Ok(())
}

fn is_named() -> bool {
    std::env::var_os(FOLDER_VARIABLE).is_some_and(|folder| !folder.is_empty())
}

fn is_installed() -> bool {
    succeeds("sh", &["-c", FIND])
}

/// Returns the folders of this machine in which PostgreSQL's server programs are.
pub(crate) fn folders() -> Result<Vec<PathBuf>> {
    let output = Command::new("sh").args(["-c", FIND]).stderr(Stdio::null()).output().context("cannot run sh")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
}

fn install() -> Result<()> {
    let Some(manager) = PackageManager::detect(on_path) else {
        bail!(
            "PostgreSQL is not installed, and xtask knows no package manager of this system: install PostgreSQL's \
             server programs, or {OTHERWISE}"
        );
    };
    let by_hand = manager.by_hand();
    let Some(privilege) = Privilege::for_installing(manager) else {
        bail!(
            "PostgreSQL is not installed, and installing it takes root's rights: run `{by_hand}` as root, or {OTHERWISE}"
        );
    };
    eprintln!("PostgreSQL is not installed: installing it now, as by `{by_hand}`");
    let succeeded = run_script(privilege, manager.script())?;
    ensure!(
        succeeded,
        "PostgreSQL is not installed, and installing it failed (see above): try `{by_hand}` yourself, or {OTHERWISE}"
    );
    Ok(())
}

/// Runs a shell script of the package manager's, and returns whether it succeeded.
pub(crate) fn run_script(privilege: Privilege, script: &str) -> Result<bool> {
    let words: &[&str] = match privilege {
        Privilege::Own => &["sh"],
        Privilege::Sudo => &["sudo", "-n", "sh"],
        Privilege::SudoWithPassword => &["sudo", "sh"],
    };
    let status = Command::new(words[0])
        .args(&words[1..])
        .args(["-c", script])
        .stdin(Stdio::null())
        // Standard output is for the output of our own commands.
        .stdout(std::io::stderr())
        .status()
        .context("cannot run the package manager")?;
    Ok(status.success())
}

pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

const FIND: &str = include_str!("postgres/find.sh");

/// The variable that names the folder of PostgreSQL's programs.
pub(crate) const FOLDER_VARIABLE: &str = "HOMING_PG_BIN";

/// The end of every sentence that says PostgreSQL cannot be installed.
const OTHERWISE: &str = "set HOMING_PG_BIN to the folder that holds PostgreSQL's programs (initdb, postgres, ...)";
