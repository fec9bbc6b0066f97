//! A named function: what is called, with which context, and how it fails.

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
/// Most are made from a closure by [`Registry::register_fn`](crate::Registry::register_fn).
pub trait Function: Send + Sync + 'static {
    /// The name, unique within a registry.
    fn name(&self) -> &str;

    /// Whether running it twice does no more than running it once. Then a caller that has registered a function of this
    /// name repeats a call whose answer was lost, until its deadline. Default: no.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Runs the function. The result is one CBOR item.
    ///
    /// # Cancel safety
    ///
    /// The future runs in a task of its own: it goes on when the caller goes away, which shows in
    /// [`CallContext::cancelled`], and is dropped at the caller's deadline at the latest, or with the server.
    fn call(&self, context: CallContext, arguments: Arguments) -> BoxFuture<'static, Result<Bytes, FunctionError>>;
}
