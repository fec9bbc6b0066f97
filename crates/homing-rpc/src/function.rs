//! Named functions: their arguments, their context and their errors.

pub(crate) mod arguments;
pub(crate) mod closure;
pub(crate) mod codec;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod registry;

use bytes::Bytes;

use crate::function::arguments::Arguments;
use crate::function::context::CallContext;
use crate::function::error::FunctionError;
use crate::task::BoxFuture;

/// A function that other nodes call by its name.
///
/// Most functions are closures; see [`Registry::register_fn`](crate::Registry::register_fn) and
/// [`Closure`](crate::Closure).
pub trait Function: Send + Sync + 'static {
    /// Returns the name, which is unique within a registry.
    fn name(&self) -> &str;

    /// Returns whether running the function twice has the same effect as running it once. If so, a call whose answer
    /// was lost is repeated until its deadline, by callers that have registered the function as idempotent too.
    /// Default: no.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Returns whether the function heeds the [key](CallContext::key) of a call, so that it is applied once, however often it is
    /// called with it. If so, a call with a key is repeated like that of an idempotent function, by callers that have
    /// registered the function as such. Default: no.
    fn takes_key(&self) -> bool {
        false
    }

    /// Runs the function. The result is one CBOR item.
    ///
    /// # Errors
    ///
    /// Any [`FunctionError`]; the caller gets it as an error with
    /// [`is_function_failed`](crate::Error::is_function_failed), or with [`is_not_sent`](crate::Error::is_not_sent) if
    /// it is a [refusal](FunctionError::refused).
    ///
    /// # Cancel safety
    ///
    /// The future runs in a task of its own. It continues when the caller goes away; [`CallContext::cancelled`] reports
    /// that. It is dropped at the caller's deadline, or with the server.
    fn call(&self, context: CallContext, arguments: Arguments) -> BoxFuture<'static, Result<Bytes, FunctionError>>;
}
