//! A secret in a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::{Error, Result};
use crate::secret::texts::Texts;

/// The texts in a file, which is read again when they are needed and the last look was [`CHECK_INTERVAL`] ago.
///
/// There is no task: a node without new connections and tokens does not read the file. It is read on the thread that asks,
/// because a secret is in a small local file.
pub(crate) struct SecretFile {
    path: PathBuf,
    /// The lock is held while the file is read.
    state: Mutex<State>,
}

struct State {
    texts: Texts,
    checked: Instant,
    /// Why the file could not be used the last time, so that a problem is logged once.
    problem: Option<String>,
}

impl SecretFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let texts = read(&path)?;
        Ok(Self { path, state: Mutex::new(State { texts, checked: Instant::now(), problem: None }) })
    }

    /// Returns the texts in the file. While it cannot be used, they are the last ones that could.
    pub(crate) fn texts(&self) -> Texts {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() >= CHECK_INTERVAL {
            self.check(&mut state);
            state.checked = Instant::now();
        }
        state.texts.clone()
    }

    fn check(&self, state: &mut State) {
        let path = self.path.display();
        match read(&self.path) {
            Ok(texts) => {
                if state.texts != texts {
                    info!(%path, "the secret has changed; new connections use it");
                    state.texts = texts;
                }
                state.problem = None;
            }
            Err(error) => {
                let problem = error.to_string();
                if state.problem.as_ref() != Some(&problem) {
                    warn!(%path, problem, "the file of the secret cannot be used; going on with the last one");
                    state.problem = Some(problem);
                }
            }
        }
    }
}

/// Reads the texts. White space at the end of the file, such as an editor's line feed, does not belong to them.
fn read(path: &PathBuf) -> Result<Texts> {
    let text = read_text(path).map_err(|error| {
        Error::misuse(format!("cannot read the secret from {}: {error}; correct the path or the file", path.display()))
            .with_source(error)
    })?;
    Texts::parse(text.trim_ascii_end())
        .map_err(|error| Error::misuse(format!("the secret in {}: {error}", path.display())))
}

fn read_text(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// How old the last look at the file may be. A change reaches a file later than this on most platforms (Kubernetes takes
/// about a minute), and the file is read at most once in this time, however many connections and tokens there are.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The limit for the file: far more than its texts need.
const MAX_FILE_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn parsed(texts: &str) -> Texts {
        Texts::parse(texts).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&format!("{OLD}\n"));
        let file = SecretFile::open(path.clone()).unwrap();
        assert!(file.texts() == parsed(OLD));
        write(&format!("{NEW},{OLD}\n"));
        assert!(file.texts() == parsed(OLD), "it was read a moment ago");
        time::advance(CHECK_INTERVAL).await;
        assert!(file.texts() == parsed(&format!("{NEW},{OLD}")));
        for broken in ["", "short", "\u{e9}", &"x".repeat(20_000)] {
            write(broken);
            time::advance(CHECK_INTERVAL).await;
            assert!(file.texts() == parsed(&format!("{NEW},{OLD}")), "a broken file changes nothing");
        }
        std::fs::remove_file(&path).unwrap();
        time::advance(CHECK_INTERVAL).await;
        assert!(file.texts() == parsed(&format!("{NEW},{OLD}")));
        write(NEW);
        time::advance(CHECK_INTERVAL).await;
        assert!(file.texts() == parsed(NEW));
    }

    #[test]
    fn unusable_file_is_misuse_without_quote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let refused = || SecretFile::open(path.clone()).err().unwrap();
        assert!(refused().is_misuse() && refused().to_string().contains(path.to_str().unwrap()), "{}", refused());
        for text in ["hunter2", &format!("{OLD} {NEW}"), &format!("{OLD},hunter2")] {
            std::fs::write(&path, text).unwrap();
            let error = refused();
            assert!(error.is_misuse() && error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2") && !error.to_string().contains(OLD), "{error}");
        }
    }
}
