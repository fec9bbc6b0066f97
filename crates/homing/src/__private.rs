//! What the macros expand to, besides the public items. Not part of the public interface.

use crate::{Context, Remote, Repo, Result};

/// `Result`, whatever the name stands for where the macro is used.
pub type EntityResult<T> = Result<T>;

/// What the first parameter of a remote function may be.
#[diagnostic::on_unimplemented(
    message = "the first parameter of a remote function is its context",
    label = "write `homing::Context` here"
)]
pub trait FromContext {
    /// The parameter's value.
    fn from_context(context: Context) -> Self;
}

impl FromContext for Context {
    fn from_context(context: Context) -> Self {
        context
    }
}

/// Calls a remote function with its arguments.
pub async fn call<T: Remote>(repo: &Repo, arguments: T::Arguments) -> Result<T::Output> {
    repo.rpc_and_wait(T::NAME, arguments).await
}
