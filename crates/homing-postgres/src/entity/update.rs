//! [`Update`], the columns of a row that change.

use tokio_postgres::types::ToSql;

use super::{Entity, check_written, queries};
use crate::error::{Error, Result};

/// A struct with the columns of a row that change. `#[derive(Update)]` implements it. For
/// [`Repo::update_columns`](crate::Repo::update_columns).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the columns of a row that change",
    label = "does not implement `Update`",
    note = "write `#[derive(homing::Update)]` and `#[update(of = …)]` above the struct"
)]
pub trait Update: Sync {
    /// The row that changes.
    type Entity: Entity;

    /// Returns the columns to write, and their new values.
    fn changes(&self) -> Vec<(&'static str, &(dyn ToSql + Sync))>;

    /// Returns the version that the stored row has to have, if it has to have one. Without it, the changes are written
    /// whatever the version is.
    fn version(&self) -> Option<&(dyn ToSql + Sync)> {
        None
    }
}

/// Lets calls that take the changes by value also take a reference.
impl<U: Update> Update for &U {
    type Entity = U::Entity;

    fn changes(&self) -> Vec<(&'static str, &(dyn ToSql + Sync))> {
        (**self).changes()
    }

    fn version(&self) -> Option<&(dyn ToSql + Sync)> {
        (**self).version()
    }
}

/// Returns the statement that writes the changes.
///
/// # Errors
///
/// [`is_misuse`](Error::is_misuse) if a column cannot be written, or if the entity has no version to compare.
pub(crate) fn statement<U: Update>(update: &U) -> Result<String> {
    let names: Vec<_> = update.changes().into_iter().map(|(name, _)| name).collect();
    names.iter().try_for_each(|name| check_written::<U::Entity>(name))?;
    let compares_version = update.version().is_some();
    if compares_version && U::Entity::VERSION.is_none() {
        let advice = "write `#[entity(version)]` above the field of its version";
        return Err(Error::misuse(format!("{} has no version to compare: {advice}", U::Entity::TABLE)));
    }
    Ok(queries::update_columns::<U::Entity>(&names, compares_version))
}

/// Returns the parameters of [`statement`]: the key, the values and the version.
pub(crate) fn parameters<'a, U: Update>(
    key: &'a <U::Entity as Entity>::Key,
    update: &'a U,
) -> Vec<&'a (dyn ToSql + Sync)> {
    let values = update.changes().into_iter().map(|(_, value)| value);
    U::Entity::key_values(key).into_iter().chain(values).chain(update.version()).collect()
}

/// Returns the error for a row that has another version than the caller has read.
pub(crate) fn outdated<T: Entity>() -> Error {
    let message = "was changed since it was read, so nothing was written: read it again and repeat the change";
    Error::outdated(format!("the row of {} {message}", T::TABLE))
}
