//! The values that an application gives to its functions.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use homing_postgres::{Error, Result};

/// The values of an application, one of each type. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct State(Arc<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl State {
    /// Adds a value. Returns whether there was none of its type.
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        let values = Arc::get_mut(&mut self.0).expect("it is shared after the last value was added");
        values.insert(TypeId::of::<T>(), Box::new(value)).is_none()
    }

    pub(crate) fn get<T: 'static>(&self) -> Result<&T> {
        let value = self.0.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref());
        value.ok_or_else(|| {
            Error::failed(format!(
                "the node has no state of type {}: give it to the node with NodeBuilder::with_state",
                type_name::<T>()
            ))
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("values", &self.0.len()).finish_non_exhaustive()
    }
}
