//! The folder of a testbed. It goes away, with its processes, however this program ends.

mod janitor;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::janitor::Janitor;
use crate::error::{AtPath as _, Result};
use crate::wait::unblocked;

/// A temporary folder for servers and nodes.
///
/// When the last clone of this handle is dropped, the folder goes away together with every process
/// that was started in it. The same happens if this process panics or is killed.
///
/// Every [`Postgres`](crate::Postgres) and [`NodeProcess`](crate::NodeProcess) has its own scratch
/// unless it shares one. The drop of the last handle blocks until everything is gone, usually for
/// some tens of milliseconds.
///
/// A small `/bin/sh` child, the janitor, does the cleaning. It waits on a pipe to which only this
/// process writes, and has its own process group, so that Ctrl-C does not reach it.
#[derive(Clone, Debug)]
pub struct Scratch {
    shared: Arc<Shared>,
}

impl Scratch {
    /// Creates a folder below [`std::env::temp_dir`].
    ///
    /// # Errors
    ///
    /// An I/O error if the folder cannot be created or `/bin/sh` cannot run. No predicate holds for
    /// it.
    pub fn new() -> Result<Self> {
        Self::below(std::env::temp_dir())
    }

    /// Creates a folder below `parent`, which must exist. If this process is root, the user that
    /// PostgreSQL runs as must be able to reach it.
    ///
    /// # Errors
    ///
    /// An I/O error if the folder cannot be created or `/bin/sh` cannot run. No predicate holds for
    /// it.
    pub fn below(parent: impl AsRef<Path>) -> Result<Self> {
        let parent = std::path::absolute(&parent).at("find", parent.as_ref())?;
        let (process, chance) = (std::process::id(), rand::random::<u64>());
        let path = parent.join(format!("homing-testbed-{process}-{chance:016x}"));
        let janitor = Janitor::start(&path)?;
        if let Err(error) = create_folder(&path) {
            // A folder that existed before is not ours to remove.
            janitor.dismiss();
            return Err(error);
        }
        let records = path.join(RECORDS);
        fs::create_dir(&records).at("create", &records)?;
        let next = AtomicU64::new(1);
        Ok(Self { shared: Arc::new(Shared { path, next, _janitor: janitor }) })
    }

    /// Returns the path of the folder. All files in it go away with it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Returns the given scratch, or creates one without blocking the runtime.
    pub(crate) async fn given_or_new(given: Option<Self>) -> Result<Self> {
        match given {
            Some(scratch) => Ok(scratch),
            None => unblocked(Self::new).await,
        }
    }

    /// Returns a path below the folder that is not in use: `label-NUMBER`.
    pub(crate) fn unique(&self, label: &str) -> PathBuf {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.path.join(format!("{label}-{number}"))
    }

    /// Wraps `command` so that the process records itself before it does anything else. The record
    /// is valid until its file is removed.
    pub(crate) fn register(&self, command: &Command, kind: ProcessKind) -> Result<(Command, PathBuf)> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let record = self.shared.path.join(RECORDS).join(number.to_string());
        let file = File::create_new(&record).at("create", &record)?;
        let mut wrapped = janitor::shell(include_str!("scratch/register.sh"));
        wrapped.arg(kind.name()).arg(self.shared.path.join("closing"));
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.stdin(file);
        Ok((wrapped, record))
    }
}

/// A kind of process, which says how to end it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProcessKind {
    /// A process group, which SIGKILL ends.
    Group,
    /// A PostgreSQL server, which ends its children and itself on SIGQUIT.
    Postgres,
}

impl ProcessKind {
    fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Postgres => "postgres",
        }
    }
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    next: AtomicU64,
    _janitor: Janitor,
}

/// Creates a folder that other users may enter, because PostgreSQL may run as another user, but not
/// list. The umask has no effect on it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    let mode = Permissions::from_mode(0o711);
    fs::create_dir(path).and_then(|()| fs::set_permissions(path, mode)).at("create", path)
}

const RECORDS: &str = "records";
