//! The lines that the tasks of a test log.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::world::soon;

/// Collects lines until it is dropped. All tasks of a test run on its thread.
pub(crate) struct Lines {
    text: watch::Sender<String>,
    _collecting: (DefaultGuard, tracing::Dispatch),
}

impl Lines {
    pub(crate) fn collect() -> Self {
        Self::collect_at(Level::INFO, &[])
    }

    /// Collects lines, also those for debugging. The task that logs the first line with one of these texts panics there, as
    /// if the code beside it had a bug.
    pub(crate) fn with_panics_at(texts: &[&'static str]) -> Self {
        Self::collect_at(Level::DEBUG, texts)
    }

    fn collect_at(level: Level, panics_at: &[&'static str]) -> Self {
        let text = watch::Sender::new(String::new());
        let sink = Sink { text: text.clone(), panics_at: Arc::new(Mutex::new(panics_at.to_vec())) };
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(move || sink.clone()).finish();
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

#[derive(Clone)]
struct Sink {
    text: watch::Sender<String>,
    /// Each text causes one panic.
    panics_at: Arc<Mutex<Vec<&'static str>>>,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = std::str::from_utf8(bytes).unwrap();
        self.text.send_modify(|text| text.push_str(line));
        let found = self.panics_at.lock().unwrap().extract_if(.., |text| line.contains(*text)).next();
        match found {
            Some(text) => panic!("a bug at {text:?}"),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
