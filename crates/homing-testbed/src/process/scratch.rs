//! The folder of a testbed, and the promise that it and its processes go away.

mod janitor;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use self::janitor::Janitor;
use crate::{
    error::{AtPath as _, Result},
    wait::unblocked,
};

/// A temporary folder for servers and nodes, which goes away together with every process started
/// in it when the last clone of this handle is dropped, and no less when this process panics or
/// is killed in any way.
///
/// Every [`Postgres`](crate::Postgres) and [`NodeProcess`](crate::NodeProcess) has a scratch of
/// its own unless it is given one to share. Dropping the last handle blocks until everything is
/// gone, usually for some tens of milliseconds.
///
/// A small `/bin/sh` child, the janitor, does the cleaning. It waits on a pipe that only this
/// process writes to, in a process group of its own so that Ctrl-C does not reach it.
#[derive(Clone, Debug)]
pub struct Scratch {
    shared: Arc<Shared>,
}

impl Scratch {
    /// A new folder below [`std::env::temp_dir`].
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or `/bin/sh` not be run.
    pub fn new() -> Result<Self> {
        Self::below(std::env::temp_dir())
    }

    /// A new folder below `parent`, which must exist. When this process is root, the user that
    /// PostgreSQL runs as must be able to reach it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or `/bin/sh` not be run.
    pub fn below(parent: impl AsRef<Path>) -> Result<Self> {
        let parent = std::path::absolute(&parent).at("find", parent.as_ref())?;
        let (process, chance) = (std::process::id(), rand::random::<u64>());
        let path = parent.join(format!("homing-testbed-{process}-{chance:016x}"));
        let janitor = Janitor::start(&path)?;
        if let Err(error) = create_folder(&path) {
            // Not ours, if it is there.
            janitor.dismiss();
            return Err(error);
        }
        let records = path.join(RECORDS);
        fs::create_dir(&records).at("create", &records)?;
        let next = AtomicU64::new(1);
        Ok(Self { shared: Arc::new(Shared { path, next, _janitor: janitor }) })
    }

    /// The folder. Files put here go away with it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The given one, or a new one made without blocking.
    pub(crate) async fn given_or_new(given: Option<Self>) -> Result<Self> {
        match given {
            Some(scratch) => Ok(scratch),
            None => unblocked(Self::new).await,
        }
    }

    /// A name below the folder that nothing else has: `label-NUMBER`.
    pub(crate) fn unique(&self, label: &str) -> PathBuf {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.path.join(format!("{label}-{number}"))
    }

    /// `command`, wrapped so that the process records itself before it does anything else.
    /// The record is in force until its file is removed.
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

/// How a recorded process is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProcessKind {
    /// A process group, ended by SIGKILL.
    Group,
    /// A PostgreSQL server, which takes its children along on SIGQUIT.
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

/// Creates a folder that others may pass through, since PostgreSQL may run as another user, but
/// not list. Whatever our umask says.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    let mode = Permissions::from_mode(0o711);
    fs::create_dir(path).and_then(|()| fs::set_permissions(path, mode)).at("create", path)
}

const RECORDS: &str = "records";
