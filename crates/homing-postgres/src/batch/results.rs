use std::any::Any;
use std::fmt;

use super::step::{BatchId, Step};

/// What the steps of a [`Batch`](super::Batch) returned, each found by its [`Step`].
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

    /// The result of a step.
    ///
    /// # Panics
    ///
    /// If the step belongs to another batch, was added after the batch ran, or its result was taken.
    #[track_caller]
    pub fn get<T: 'static>(&self, step: &Step<T>) -> &T {
        let value = self.values.get(step.index).filter(|_| self.batch == step.batch);
        match value.and_then(Option::as_deref).and_then(|value| value.downcast_ref()) {
            Some(value) => value,
            None => panic!("these results have none of step {:?}: {WHY}", step.name()),
        }
    }

    /// Takes the result of a step.
    ///
    /// # Panics
    ///
    /// If the step belongs to another batch, was added after the batch ran, or its result was taken before.
    #[track_caller]
    pub fn take<T: 'static>(&mut self, step: &Step<T>) -> T {
        let slot = self.values.get_mut(step.index).filter(|_| self.batch == step.batch);
        match slot.and_then(Option::take).map(|value| value.downcast()) {
            Some(Ok(value)) => *value,
            _ => panic!("these results have none of step {:?}: {WHY}", step.name()),
        }
    }
}

impl fmt::Debug for BatchResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchResults").field("steps", &self.values.len()).finish_non_exhaustive()
    }
}

const WHY: &str = "it is of another batch, was added later, or its result was taken";
