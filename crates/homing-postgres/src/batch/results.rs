//! [`BatchResults`], the results of a batch.

use std::any::Any;
use std::fmt;

use super::step::{BatchId, Step};

/// The results of the steps of a [`Batch`](crate::Batch). Each [`Step`] finds its own result.
pub struct BatchResults {
    batch: BatchId,
    values: Vec<Option<Value>>,
}

/// The result of a step.
pub(super) type Value = Box<dyn Any + Send + Sync>;

impl BatchResults {
    pub(super) fn new(batch: BatchId, values: Vec<Value>) -> Self {
        Self { batch, values: values.into_iter().map(Some).collect() }
    }

    /// Returns the result of a step.
    ///
    /// # Panics
    ///
    /// Panics if the step belongs to another batch or was added after the batch ran, or if its result was taken.
    #[track_caller]
    pub fn get<T: 'static>(&self, step: &Step<T>) -> &T {
        let value = self.values.get(step.index).filter(|_| self.batch == step.batch);
        match value.and_then(Option::as_deref).and_then(|value| value.downcast_ref()) {
            Some(value) => value,
            None => panic!("no result of step {:?}: {WHY}", step.name()),
        }
    }

    /// Takes the result of a step out of the results.
    ///
    /// # Panics
    ///
    /// Panics if the step belongs to another batch or was added after the batch ran, or if its result was taken
    /// already.
    #[track_caller]
    pub fn take<T: 'static>(&mut self, step: &Step<T>) -> T {
        let slot = self.values.get_mut(step.index).filter(|_| self.batch == step.batch);
        match slot.and_then(Option::take).map(|value| value.downcast()) {
            Some(Ok(value)) => *value,
            _ => panic!("no result of step {:?}: {WHY}", step.name()),
        }
    }
}

impl fmt::Debug for BatchResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchResults").field("steps", &self.values.len()).finish_non_exhaustive()
    }
}

const WHY: &str = "the step belongs to another batch, was added after the batch ran, or its result was taken";
