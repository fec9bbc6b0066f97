//! Tools that tests of several modules use.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// A bug in the middle of a task: while its guard lives, this thread panics where it logs a message for the first time.
pub(crate) struct PanicOnce {
    message: &'static str,
    is_over: AtomicBool,
}

impl PanicOnce {
    pub(crate) fn at(message: &'static str) -> DefaultGuard {
        tracing::subscriber::set_default(Self { message, is_over: AtomicBool::new(false) })
    }
}

impl Subscriber for PanicOnce {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        if message.0 == self.message && !self.is_over.swap(true, Ordering::SeqCst) {
            panic!("as a test");
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
