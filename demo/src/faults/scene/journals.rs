//! Reads the journals of all nodes while they grow.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::faults::checker::history::{History, Journal};
use crate::faults::clock::Micros;
use crate::faults::journal::{FailedFate, Line, Outcome};

#[derive(Debug)]
pub(crate) struct Journals {
    folder: PathBuf,
    files: BTreeMap<String, Tail>,
}

/// A journal, as far as it has been read.
#[derive(Debug, Default)]
struct Tail {
    offset: u64,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
    lines: Vec<Line>,
    /// When the operations began that have not ended.
    begun: BTreeMap<u64, Micros>,
    last_acknowledged_began: Micros,
}

impl Journals {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// Reads what has been written since the last call.
    pub(super) fn read_on(&mut self) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let tail = self.files.entry(name).or_default();
            tail.read_on(File::open(entry.path())?).with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    }

    /// Returns whether a node has been told of a write that began after `time`.
    pub(super) fn wrote_since(&self, node: &str, time: Micros) -> bool {
        self.files.iter().any(|(name, tail)| is_of(name, node) && tail.last_acknowledged_began > time)
    }

    /// Takes what has been read.
    pub(super) fn history(&mut self) -> History {
        let files = std::mem::take(&mut self.files);
        let journal = |(name, tail): (String, Tail)| Journal { region: region(&name).to_owned(), lines: tail.lines };
        History { journals: files.into_iter().map(journal).collect() }
    }
}

impl Tail {
    fn read_on(&mut self, mut file: File) -> Result<()> {
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let bytes: Vec<u8> = self.rest.drain(..complete).collect();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = serde_json::from_slice(line)?;
            self.note(&line);
            self.lines.push(line);
        }
        Ok(())
    }

    fn note(&mut self, line: &Line) {
        match line {
            Line::Begin { at, number, .. } => {
                self.begun.insert(*number, *at);
            }
            Line::End { number, outcome, .. } => {
                let began = self.begun.remove(number).unwrap_or_default();
                if matches!(outcome, Outcome::Stored { .. } | Outcome::Failed { fate: FailedFate::Committed, .. }) {
                    self.last_acknowledged_began = self.last_acknowledged_began.max(began);
                }
            }
        }
    }
}

/// The name of a journal is that of its node and the number of its process.
fn is_of(journal: &str, node: &str) -> bool {
    journal.split_once('.').is_some_and(|(name, _)| name == node)
}

fn region(journal: &str) -> &str {
    journal.split(['-', '.']).next().unwrap_or(journal)
}
