//! Async closures as functions.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;

use crate::function::arguments::{Arguments, FromArguments};
use crate::function::context::CallContext;
use crate::function::error::FunctionError;
use crate::function::{Function, codec};
use crate::task::BoxFuture;

/// An async closure or function as a [`Function`]. Its second parameter is a tuple of the arguments.
pub struct Closure<F, A> {
    name: String,
    idempotent: bool,
    takes_key: bool,
    function: F,
    parameters: PhantomData<fn(A)>,
}

impl<F, Fut, A> Closure<F, A>
where
    F: Fn(CallContext, A) -> Fut,
{
    /// Returns the closure as the function `name`.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), idempotent: false, takes_key: false, function, parameters: PhantomData }
    }

    /// Says that the function may run twice; see [`Function::is_idempotent`].
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// Says that the function heeds the key of a call; see [`Function::takes_key`].
    #[must_use]
    pub fn taking_key(self) -> Self {
        Self { takes_key: true, ..self }
    }
}

impl<F, Fut, A, R, E> Function for Closure<F, A>
where
    F: Fn(CallContext, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    A: FromArguments + Send + 'static,
    R: Serialize + Send + 'static,
    E: Into<FunctionError> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    fn takes_key(&self) -> bool {
        self.takes_key
    }

    fn call(&self, context: CallContext, arguments: Arguments) -> BoxFuture<'static, Result<Bytes, FunctionError>> {
        let arguments = match arguments.decode() {
            Ok(arguments) => arguments,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let running = (self.function)(context, arguments);
        Box::pin(async move {
            let result = running.await.map_err(Into::into)?;
            Ok(codec::encode(&result)?)
        })
    }
}

impl<F, A> fmt::Debug for Closure<F, A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Closure").field("name", &self.name).finish_non_exhaustive()
    }
}
