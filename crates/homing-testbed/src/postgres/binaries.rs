//! The folder with PostgreSQL's server programs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// The folder with PostgreSQL's server programs (`initdb`, `postgres`, `pg_basebackup`).
///
/// ```no_run
/// let binaries = homing_testbed::Binaries::find()?;
/// println!("PostgreSQL is in {}", binaries.folder().display());
/// # Ok::<(), homing_testbed::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds the programs on this machine. Takes the first folder that has all three, in this order:
    ///
    /// 1. the folder that `HOMING_PG_BIN` names;
    /// 2. the folder that `pg_config --bindir` prints;
    /// 3. the usual folders of Linux distributions, Homebrew, MacPorts and Postgres.app, newest
    ///    version first;
    /// 4. the folders of `PATH`.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if `HOMING_PG_BIN` names a folder without the programs.
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if no folder has them.
    pub fn find() -> Result<Self> {
        Self::find_with(&|name| std::env::var(name).ok())
    }

    /// [Finds](Self::find) the programs with `HOMING_PG_BIN` and `PATH` from `lookup` in place of the
    /// environment of this process.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if `HOMING_PG_BIN` names a folder without the programs.
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if no folder has them.
    pub fn find_with(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        if let Some(folder) = lookup(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
            return Self::at(folder).map_err(|error| Error::misuse(format!("{FOLDER_VARIABLE} is wrong: {error}")));
        }
        let path = lookup("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        configured(&path)
            .into_iter()
            .chain(usual_folders())
            .chain(path)
            .find_map(|folder| Self::at(folder).ok())
            .ok_or_else(|| Error::postgres_missing(MISSING))
    }

    /// Takes the programs in `folder`.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if a program is missing. The message names the first one.
    pub fn at(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        match PROGRAMS.iter().find(|program| !folder.join(program).is_file()) {
            None => Ok(Self { folder }),
            Some(program) => {
                let folder = folder.display();
                Err(Error::misuse(format!(
                    "{folder} has no PostgreSQL program {program}; name the folder of the server programs"
                )))
            }
        }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Returns the folder that `pg_config` prints. Client-only packages have a `pg_config` too, so the
/// folder is checked like any other.
fn configured(path: &[PathBuf]) -> Option<PathBuf> {
    let program = path.iter().map(|folder| folder.join("pg_config")).find(|file| file.is_file())?;
    let output = Command::new(program).arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| folder.trim_end().into())
}

fn usual_folders() -> impl Iterator<Item = PathBuf> {
    USUAL_FOLDERS.iter().flat_map(|(parent, prefix, rest)| versions(parent, prefix, rest))
}

/// Returns the folders `parent/prefixVERSION/rest`, newest version first.
fn versions(parent: &str, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(Version, PathBuf)> = entries
        .filter_map(|entry| {
            let version = parse_version(&entry.file_name(), prefix)?;
            Some((version, entry.path().join(rest)))
        })
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Parses the version behind a prefix: `postgresql@16` with the prefix `postgresql@` is 16. A name
/// without a version counts as the oldest.
fn parse_version(name: &OsStr, prefix: &str) -> Option<Version> {
    let version = name.to_str()?.strip_prefix(prefix)?;
    if version.is_empty() {
        return Some(Vec::new());
    }
    version.split('.').map(|part| part.parse().ok()).collect()
}

type Version = Vec<u32>;

const FOLDER_VARIABLE: &str = "HOMING_PG_BIN";

/// The programs that a testbed runs. A folder without one of them belongs to a client-only package.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];

const MISSING: &str = "PostgreSQL's server programs (initdb, postgres, pg_basebackup) are not \
    installed; install them with `apt-get install postgresql` (Debian, Ubuntu) or \
    `brew install postgresql@17` (macOS), or set HOMING_PG_BIN to the folder they are in";

/// Parent, prefix before the version, folder below.
const USUAL_FOLDERS: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                   // PGDG on Red Hat and SUSE
    ("/usr/lib", "postgresql", "bin"),                           // SUSE
    ("/usr/libexec", "postgresql", ""),                          // Alpine
    ("/opt/homebrew/opt", "postgresql@", "bin"),                 // Homebrew, Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),                    // Homebrew, Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ("/opt/local/lib", "postgresql", "bin"),                     // MacPorts
    ("/usr/local", "pgsql", "bin"),                              // built from source
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_without_programs_is_refused() {
        let lookup = |name: &str| (name == "HOMING_PG_BIN").then(|| "/nonexistent".to_owned());
        let error = Binaries::find_with(&lookup).unwrap_err();
        assert!(error.is_misuse());
        assert!(error.to_string().starts_with("HOMING_PG_BIN is wrong: /nonexistent"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |name: &str| parse_version(OsStr::new(name), "postgresql@");
        assert!(version("postgresql@10") > version("postgresql@9.6"));
        assert!(version("postgresql@9") > version("postgresql@"));
        assert_eq!(version("postgresql@9-old"), None);
        assert_eq!(version("mysql@9"), None);
    }
}
