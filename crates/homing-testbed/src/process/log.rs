//! The log file of a server or node.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{AtPath as _, Result};

/// The log file of a server or node: both of its outputs since its first start.
///
/// A test that wants the output of one step takes the [`position`](Self::position) before the step
/// and reads the log [`since`](Self::since) that position after it.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns everything so far. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    ///
    /// An I/O error if the file cannot be read. No predicate holds for it.
    pub fn contents(&self) -> Result<String> {
        self.since(0)
    }

    /// Returns the length of the file in bytes, for a later [`since`](Self::since).
    ///
    /// # Errors
    ///
    /// An I/O error if the file cannot be read. No predicate holds for it.
    pub fn position(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path).at("read", &self.path)?;
        Ok(metadata.len())
    }

    /// Returns everything after `position`. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    ///
    /// An I/O error if the file cannot be read. No predicate holds for it.
    pub fn since(&self, position: u64) -> Result<String> {
        let mut bytes = Vec::new();
        let read = |bytes: &mut Vec<u8>| {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(position))?;
            file.read_to_end(bytes)
        };
        read(&mut bytes).at("read", &self.path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the last lines, for an error message.
    pub(crate) fn tail(&self) -> String {
        let contents = self.contents().unwrap_or_default();
        let lines: Vec<&str> = contents.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Opens the file for a process that writes to it. In append mode, because several processes
    /// share it.
    pub(crate) fn open(&self) -> Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.path).at("open", &self.path)
    }
}

/// Enough for PostgreSQL's FATAL with its DETAIL and HINT.
const TAIL_LINES: usize = 12;
