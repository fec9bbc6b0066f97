//! The functions that a node offers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::function::Function;
use crate::function::closure::Closure;
use crate::function::context::CallContext;

/// The functions that a node offers, by name.
///
/// ```
/// use homing_rpc::{CallContext, FunctionError, Registry};
///
/// let mut registry = Registry::new();
/// registry.register_fn("add", |_context: CallContext, (a, b): (i64, i64)| async move {
///     a.checked_add(b).ok_or_else(|| FunctionError::new("overflow"))
/// })?;
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["add"]);
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<dyn Function>>);

impl Registry {
    /// Returns an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the name is empty, longer than 255 bytes, or already registered.
    pub fn register(&mut self, function: impl Function) -> Result<()> {
        let name = function.name().to_owned();
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::misuse(format!("invalid function name {name:?}; use 1 to {MAX_NAME_BYTES} bytes")));
        }
        if self.0.contains_key(&name) {
            return Err(Error::misuse(format!("a function {name:?} is already registered; rename one of the two")));
        }
        self.0.insert(name, Arc::new(function));
        Ok(())
    }

    /// Adds an async closure or function as the function `name`. Its second parameter is a tuple of the arguments.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] in the cases of [`register`](Self::register).
    pub fn register_fn<F, Fut, A>(&mut self, name: impl Into<String>, function: F) -> Result<()>
    where
        F: Fn(CallContext, A) -> Fut,
        Closure<F, A>: Function,
    {
        self.register(Closure::new(name, function))
    }

    /// Returns the function of this name.
    pub fn function(&self, name: &str) -> Option<Arc<dyn Function>> {
        self.0.get(name).cloned()
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

/// A function's name travels in every call and in error messages. A longer one is misuse.
const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::function::arguments::IntoArguments;
    use crate::function::codec;
    use crate::function::error::FunctionError;
    use crate::metadata::trace::TraceContext;
    use crate::region::Region;

    fn registry() -> Registry {
        let mut registry = Registry::new();
        registry.register_fn("double", |_, (n,): (u32,)| async move { Ok::<_, FunctionError>(n * 2) }).unwrap();
        registry
    }

    fn context() -> CallContext {
        CallContext::new(Region::local(), Instant::now(), TraceContext::root()).0
    }

    #[tokio::test]
    async fn a_closure_is_called_by_name() {
        let function = registry().function("double").unwrap();
        let result = function.call(context(), (21,).into_arguments().unwrap()).await.unwrap();
        assert_eq!(codec::decode::<u32>(&result).unwrap(), 42);
    }

    #[tokio::test]
    async fn invalid_arguments_never_reach_the_closure() {
        let function = registry().function("double").unwrap();
        let error = function.call(context(), ("x",).into_arguments().unwrap()).await.unwrap_err();
        assert!(error.is_bad_arguments());
    }

    #[test]
    fn taken_or_invalid_name_is_misuse() {
        let mut registry = registry();
        for name in ["double", "", &"x".repeat(256)] {
            let error = registry.register_fn(name, |_, ()| async { Ok::<_, FunctionError>(()) }).unwrap_err();
            assert!(error.is_misuse(), "{name}");
        }
    }
}
