//! The thread that copies a node's standard output to its log and looks for the ready line.
//!
//! Each start of a node spawns one. It owns the pipe, reads it line by line, and ends with the output.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::ChildStdout;
use std::thread;

use tokio::sync::watch;

/// Waits for the ready line that the thread finds.
#[derive(Debug)]
pub(super) struct OutputReader {
    ready: watch::Receiver<Option<String>>,
}

impl OutputReader {
    pub(super) fn read(stdout: ChildStdout, log: File, ready_prefix: String) -> Self {
        let (sender, ready) = watch::channel(None);
        thread::spawn(move || copy(stdout, log, &ready_prefix, &sender));
        Self { ready }
    }

    /// Returns the rest of the ready line, or `None` if the output ends first. Cancel safe.
    pub(super) async fn ready_line(&self) -> Option<String> {
        let mut ready = self.ready.clone();
        ready.wait_for(Option::is_some).await.ok()?.clone()
    }
}

fn copy(stdout: ChildStdout, mut log: File, ready_prefix: &str, ready: &watch::Sender<Option<String>>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // A full disk must not stop the node, which blocks unless this thread reads its output.
        let _ = log.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        if let Some(rest) = text.trim_end().strip_prefix(ready_prefix) {
            ready.send_if_modified(|ready| {
                let first = ready.is_none();
                ready.get_or_insert_with(|| rest.to_owned());
                first
            });
        }
        line.clear();
    }
}
