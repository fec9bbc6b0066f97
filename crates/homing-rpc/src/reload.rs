//! A value that is made of files, and made again when they have changed.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::result::Result as StdResult;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::{Error, Result};

/// A value that is made of the contents of files. They are read again when the value is asked for and the last look was a
/// second ago. If they cannot be used then, the last value stays, and a warning says so, once for each reason.
///
/// There is no task: a node without new connections and tokens does not read the files. They are read on the thread that
/// asks, because they are small and local. Contents are compared, not times: Kubernetes replaces a symbolic link.
pub struct Reloaded<T> {
    /// The value, for people.
    what: &'static str,
    /// Where it comes from, for people.
    place: String,
    load: Load<T>,
    /// The lock is held while the files are read.
    state: Mutex<State<T>>,
}

/// A value that differs for files with other contents.
pub type Digest = [u8; 32];

/// Reads the files, and makes the value of them unless they have this digest.
type Load<T> = Box<dyn Fn(Option<Digest>) -> StdResult<Option<(T, Digest)>, String> + Send + Sync>;

struct State<T> {
    value: T,
    digest: Digest,
    checked: Instant,
    /// Why the files could not be used the last time, so that a problem is logged once.
    problem: Option<String>,
}

impl<T: Clone> Reloaded<T> {
    /// Makes the value for the first time. `what` is the value, for people.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if a file cannot be read, or if `make` fails. The message names the files.
    pub fn new<E: StdError + Send + Sync + 'static>(
        what: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> StdResult<T, E> + Send + Sync + 'static,
    ) -> Result<Self> {
        let place = listed(&paths);
        Self::loaded_by(what, place, move |before| {
            let contents = read_all(what, &paths)?;
            let digest = digest_of(contents.iter().map(Vec::as_slice));
            if before == Some(digest) {
                return Ok(None);
            }
            let value = make(&contents).map_err(|error| at(what, &paths, error))?;
            Ok(Some((value, digest)))
        })
    }

    /// Makes the value for the first time, by a function that reads the files itself. It gets the digest of their last version,
    /// and returns `None` if they still have it. `place` says where the value comes from, for people.
    ///
    /// # Errors
    ///
    /// Those of `load`.
    pub fn loaded_by<E: fmt::Display>(
        what: &'static str,
        place: String,
        load: impl Fn(Option<Digest>) -> StdResult<Option<(T, Digest)>, E> + Send + Sync + 'static,
    ) -> StdResult<Self, E> {
        let (value, digest) = load(None)?.expect("without a digest there is a value");
        let load: Load<T> = Box::new(move |before| load(before).map_err(|error| error.to_string()));
        let state = State { value, digest, checked: Instant::now(), problem: None };
        Ok(Self { what, place, load, state: Mutex::new(state) })
    }

    /// Returns the value of the files. While they cannot be used, it is the last one that could be made.
    pub fn current(&self) -> T {
        let mut state = self.state();
        if state.checked.elapsed() >= CHECK_INTERVAL {
            self.check(&mut state);
        }
        state.value.clone()
    }

    /// Reads the files again, however short before they were read.
    pub fn check_now(&self) {
        self.check(&mut self.state());
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &mut State<T>) {
        let Self { what, place, .. } = self;
        state.checked = Instant::now();
        match (self.load)(Some(state.digest)) {
            Ok(changed) => {
                if let Some((value, digest)) = changed {
                    info!(place, "{what} changed; new connections use the new version");
                    (state.value, state.digest) = (value, digest);
                }
                state.problem = None;
            }
            Err(problem) => {
                if state.problem.as_ref() != Some(&problem) {
                    warn!(place, problem, "{what} changed and cannot be used; going on with the last version");
                    state.problem = Some(problem);
                }
            }
        }
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    /// Leaves out the value, which may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reloaded").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Returns the digest of the contents of files.
pub fn digest_of<'a>(contents: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut digest = Sha256::new();
    for part in contents {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn read_all(what: &str, paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| {
        read(path).map_err(|error| {
            let path = path.display();
            Error::misuse(format!("cannot read {what} from {path}: {error}; correct the path or the file"))
                .with_source(error)
        })
    };
    paths.iter().map(read).collect()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(contents)
}

/// Adds the files to an error about their contents.
fn at(what: &str, paths: &[PathBuf], error: impl StdError + Send + Sync + 'static) -> Error {
    Error::misuse(format!("{what} in {}: {error}", listed(paths))).with_source(error)
}

/// How old the last look at the files may be. A change reaches a file later than this on most platforms (Kubernetes takes
/// about a minute), and the files are read at most once in this time, however many connections and tokens there are.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The limit for a file: far more than secrets and certificates need.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<i64> {
        let text = std::str::from_utf8(&contents[0]).unwrap_or_default();
        text.trim().parse().map_err(|_| Error::misuse("this is not a number"))
    }

    #[tokio::test(start_paused = true)]
    async fn changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("1\n");
        let file = Reloaded::new("the number", vec![path.clone()], number).unwrap();
        assert_eq!(file.current(), 1);
        write("2");
        assert_eq!(file.current(), 1, "it was read a moment ago");
        time::advance(CHECK_INTERVAL).await;
        assert_eq!(file.current(), 2);
        write("4");
        file.check_now();
        assert_eq!(file.current(), 4);
        write("2");
        time::advance(CHECK_INTERVAL).await;
        assert_eq!(file.current(), 2);
        for broken in ["", "none", &"1".repeat(2_000_000)] {
            write(broken);
            time::advance(CHECK_INTERVAL).await;
            assert_eq!(file.current(), 2, "a broken file changes nothing");
        }
        std::fs::remove_file(&path).unwrap();
        time::advance(CHECK_INTERVAL).await;
        assert_eq!(file.current(), 2);
        write("3");
        time::advance(CHECK_INTERVAL).await;
        assert_eq!(file.current(), 3);
    }

    #[test]
    fn unusable_file_is_misuse_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let refused = || Reloaded::new("the number", vec![path.clone()], number).err().unwrap();
        assert!(refused().is_misuse() && refused().to_string().contains(path.to_str().unwrap()), "{}", refused());
        std::fs::write(&path, "hunter2").unwrap();
        let error = refused();
        assert!(error.is_misuse() && error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("not a number") && !format!("{error:?}").contains("hunter2"), "{error}");
    }
}
