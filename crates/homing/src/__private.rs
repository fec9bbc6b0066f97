//! The items that the macros use besides the public ones. Not part of the public interface.

pub use homing_postgres::Fields;
use homing_postgres::{Error, Repo, Result, ToSql};
use homing_rpc::Region;

use crate::context::Context;
use crate::remote::Remote;

pub use crate::remote::{OfName, OfType};

/// [`Result`], under a name that no item of the application shadows.
pub type RowResult<T> = Result<T>;

/// The types that a version may have.
#[diagnostic::on_unimplemented(
    message = "a version is a number that counts changes",
    label = "write `i64` or `i32` here"
)]
pub trait Version: ToSql + Sync {}

impl Version for i16 {}
impl Version for i32 {}
impl Version for i64 {}

/// Returns the name of a version's column, if it can have this type.
pub const fn version_column<T: Version>(name: &'static str) -> Option<&'static str> {
    Some(name)
}

/// Returns a version as a parameter.
pub fn version_value<T: Version>(version: &T) -> Option<&(dyn ToSql + Sync)> {
    Some(version)
}

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

/// The error that a remote function may return.
#[diagnostic::on_unimplemented(
    message = "a remote function returns a `homing::Result`, or a `Result` whose error becomes a `homing::Error`",
    label = "`{Self}` does not become a `homing::Error`",
    note = "write `homing::Result<…>`, or `Result<…, Box<dyn std::error::Error + Send + Sync>>` for any errors, or `impl From<{Self}> for homing::Error`"
)]
pub trait ReturnedError: Into<Error> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Error>> ReturnedError for E {}

/// Waits for what a remote function returns.
pub async fn returned<T, E: ReturnedError>(running: impl Future<Output = std::result::Result<T, E>>) -> Result<T> {
    running.await.map_err(Into::into)
}

/// Calls a remote function with its arguments in the primary region.
pub async fn call<T: Remote>(repo: &Repo, arguments: T::Arguments) -> Result<T::Output> {
    repo.rpc_and_wait(T::NAME, arguments).await
}

/// Calls a remote function with its arguments in a region.
pub async fn call_in<T: Remote>(repo: &Repo, region: &Region, arguments: T::Arguments) -> Result<T::Output> {
    repo.rpc_in(region, T::NAME, arguments).await
}
