//! What a server or node has printed.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use crate::error::{AtPath as _, Result};

/// The log file of a server or node: both of its outputs, from its first start on.
///
/// To look only at what a step of a test has caused, remember [`position`](Self::position) before
/// it and ask for [`since`](Self::since) after it.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything so far. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn contents(&self) -> Result<String> {
        self.since(0)
    }

    /// The length of the file in bytes, for a later [`since`](Self::since).
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn position(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path).at("read", &self.path)?;
        Ok(metadata.len())
    }

    /// What was written after `position`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
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

    /// The last lines, for an error message.
    pub(crate) fn tail(&self) -> String {
        let contents = self.contents().unwrap_or_default();
        let lines: Vec<&str> = contents.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Opens it for a process to write to. Appending, because several processes share it.
    pub(crate) fn open(&self) -> Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.path).at("open", &self.path)
    }
}

/// Enough for PostgreSQL's FATAL with its DETAIL and HINT.
const TAIL_LINES: usize = 12;
