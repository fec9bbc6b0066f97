//! [`Conflict`], how an insert treats rows that are already stored.

use super::{Entity, Insert, check_version};
use crate::entity;
use crate::error::{Error, Result};

/// Which rows count as the same, and how the stored one changes. For
/// [`Repo::insert_or_update`](crate::Repo::insert_or_update).
///
/// ```
/// use homing_postgres::Conflict;
///
/// Conflict::on(["email"]); // sets all other columns of the row with that email
/// Conflict::on(["email"]).update(["name", "age"]); // sets only these columns
/// Conflict::on(["email"]).update_nothing(); // leaves the row unchanged
/// Conflict::on_constraint("users_email_key").update(["name"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to `insert_or_update`"]
pub struct Conflict {
    target: ConflictTarget,
    update: Update,
}

/// The columns or the constraint that make two rows the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConflictTarget {
    Columns(Vec<String>),
    Constraint(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Update {
    Others,
    Columns(Vec<String>),
    Nothing,
}

/// How the stored row changes, after the check against the columns of the entity.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution<'a> {
    /// These columns are set to the values of the new row.
    Set(Vec<&'a str>),

    /// It stays unchanged, and is found by these of the written columns.
    Keep { by: Vec<usize> },
}

impl Conflict {
    /// Treats rows with equal values in these columns as the same. Exactly these columns need a primary key, a unique
    /// constraint or a unique index. NULL equals no value.
    pub fn on<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self { target: ConflictTarget::Columns(columns.into_iter().map(Into::into).collect()), update: Update::Others }
    }

    /// Treats rows that violate this constraint as the same.
    pub fn on_constraint(name: impl Into<String>) -> Self {
        Self { target: ConflictTarget::Constraint(name.into()), update: Update::Others }
    }

    /// Sets only these columns of the stored row to the values of the new one. By default, all written columns are set
    /// except those of the conflict.
    pub fn update<C: Into<String>>(self, columns: impl IntoIterator<Item = C>) -> Self {
        Self { update: Update::Columns(columns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Leaves the stored row unchanged: no trigger runs, and it is not locked.
    pub fn update_nothing(self) -> Self {
        Self { update: Update::Nothing, ..self }
    }

    pub(crate) fn target(&self) -> &ConflictTarget {
        &self.target
    }

    /// Checks everything that does not need the database.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if a column is unknown, is not written or occurs twice, if no column is given or one is the version,
    /// or if a row that stays unchanged cannot be found by its written columns.
    pub(crate) fn resolve<I: Insert>(&self) -> Result<Resolution<'_>> {
        self.check_target::<I>()?;
        let set = match &self.update {
            Update::Others => {
                let is_set = |name: &&str| !self.is_target(name) && I::Entity::VERSION != Some(name);
                I::COLUMNS.iter().copied().filter(is_set).collect()
            }
            Update::Columns(columns) if columns.is_empty() => {
                return Err(Error::misuse(
                    "update names no column: use update_nothing to leave the stored row unchanged",
                ));
            }
            Update::Columns(columns) => self.named::<I>(columns)?,
            Update::Nothing => Vec::new(),
        };
        if set.is_empty() {
            return self.keep::<I>();
        }
        Ok(Resolution::Set(set))
    }

    fn check_target<I: Insert>(&self) -> Result<()> {
        match &self.target {
            ConflictTarget::Columns(columns) => {
                if columns.is_empty() {
                    return Err(Error::misuse("Conflict::on names no column: name at least one"));
                }
                // An insert may write columns of the table that the entity leaves out.
                let is_known = |name: &str| I::COLUMNS.contains(&name) || I::Entity::COLUMNS.contains(&name);
                match columns.iter().find(|name| !is_known(name)) {
                    Some(unknown) => Err(entity::unknown_column::<I::Entity>(unknown)),
                    None => no_duplicates("Conflict::on", columns),
                }
            }
            ConflictTarget::Constraint(name) if name.is_empty() => {
                Err(Error::misuse("the constraint of a conflict has an empty name: name one"))
            }
            ConflictTarget::Constraint(_) => Ok(()),
        }
    }

    fn named<'a, I: Insert>(&self, columns: &'a [String]) -> Result<Vec<&'a str>> {
        if let Some(unknown) = columns.iter().find(|name| !I::COLUMNS.contains(&name.as_str())) {
            let known = I::COLUMNS.join(", ");
            return Err(Error::misuse(format!(
                "the new row of {} has no column {unknown:?}, so there is no value to update it to: its columns are \
                 {known}",
                I::Entity::TABLE
            )));
        }
        no_duplicates("update", columns)?;
        columns.iter().try_for_each(|name| check_version::<I::Entity>(name))?;
        Ok(columns.iter().map(String::as_str).collect())
    }

    fn keep<I: Insert>(&self) -> Result<Resolution<'_>> {
        let ConflictTarget::Columns(columns) = &self.target else {
            return Err(Error::misuse(
                "without an update, the stored row is found by the columns of the conflict, and a constraint does not \
                 name them: use Conflict::on",
            ));
        };
        let index = |name: &String| {
            I::COLUMNS.iter().position(|column| column == name).ok_or_else(|| {
                Error::misuse(format!(
                    "without an update, the stored row is found by the columns of the conflict, and the new row of {} \
                     has no column {name:?}: its columns are {}",
                    I::Entity::TABLE,
                    I::COLUMNS.join(", ")
                ))
            })
        };
        Ok(Resolution::Keep { by: columns.iter().map(index).collect::<Result<_>>()? })
    }

    fn is_target(&self, name: &str) -> bool {
        match &self.target {
            ConflictTarget::Columns(columns) => columns.iter().any(|column| column == name),
            ConflictTarget::Constraint(_) => false,
        }
    }
}

fn no_duplicates(method: &str, columns: &[String]) -> Result<()> {
    match columns.iter().enumerate().find(|(index, name)| columns[..*index].contains(name)) {
        Some((_, twice)) => Err(Error::misuse(format!("{method} names the column {twice:?} twice: name it once"))),
        None => Ok(()),
    }
}
