//! The items that the macros use besides the public ones. Not part of the public interface.

pub use homing_postgres::Fields;
use homing_postgres::{Repo, Result};

use crate::context::Context;
use crate::remote::Remote;

/// [`Result`], under a name that no item of the application shadows.
pub type RowResult<T> = Result<T>;

/// The types that the first parameter of a remote function may have.
#[diagnostic::on_unimplemented(
    message = "the first parameter of a remote function is its context",
    label = "write `homing::Context` here"
)]
pub trait FromContext {
    /// Returns the value of the parameter.
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
