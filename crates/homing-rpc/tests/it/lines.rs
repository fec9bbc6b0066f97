//! The lines that the tasks of a test log.

use std::io;

use tokio::sync::watch;
use tracing::subscriber::DefaultGuard;

use crate::world::soon;

/// Collects lines until it is dropped. All tasks of a test run on its thread.
pub(crate) struct Lines {
    text: watch::Sender<String>,
    _collecting: (DefaultGuard, tracing::Dispatch),
}

impl Lines {
    pub(crate) fn collect() -> Self {
        let text = watch::Sender::new(String::new());
        let sink = text.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Sink(sink.clone())).finish();
        // With one subscriber only, tracing asks the first thread that comes whether lines are of interest, and the threads
        // of the other tests have no subscriber.
        let second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
        Self { text, _collecting: (tracing::subscriber::set_default(subscriber), second) }
    }

    /// Waits for a line with all these parts.
    pub(crate) async fn wait_for(&self, parts: &[&str]) {
        let mut text = self.text.subscribe();
        let is_wanted = |line: &str| parts.iter().all(|part| line.contains(part));
        let logged = text.wait_for(|text| text.lines().any(is_wanted));
        soon(&format!("a line with {parts:?}"), logged).await.unwrap();
    }

    /// Returns how many lines have all these parts.
    pub(crate) fn count(&self, parts: &[&str]) -> usize {
        self.text.borrow().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

struct Sink(watch::Sender<String>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(std::str::from_utf8(bytes).unwrap()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
