//! What to do where a row to insert is stored already.

use super::{Entity, Insert};
use crate::entity;
use crate::error::{Error, Result};

/// Which rows count as the same, and what becomes of the stored one. For
/// [`Repo::insert_or_update`](crate::Repo::insert_or_update).
///
/// ```
/// use homing_postgres::Conflict;
///
/// Conflict::on(["email"]); // stores all other columns over those of the row with that email
/// Conflict::on(["email"]).update(["name", "age"]); // these alone
/// Conflict::on(["email"]).update_nothing(); // leaves the row as it is
/// Conflict::on_constraint("users_email_key").update(["name"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it says what to do; give it to `insert_or_update`"]
pub struct Conflict {
    target: ConflictTarget,
    update: Update,
}

/// What tells that a row is stored already.
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

/// What becomes of the stored row, checked against the columns that there are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution<'a> {
    /// These columns are set to the values of the new row.
    Set(Vec<&'a str>),

    /// It stays, and is found by these of the written columns.
    Keep { by: Vec<usize> },
}

impl Conflict {
    /// Rows with equal values in these columns are the same. A primary key, unique constraint or unique index has to be
    /// on exactly these columns; NULL equals nothing.
    pub fn on<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self { target: ConflictTarget::Columns(columns.into_iter().map(Into::into).collect()), update: Update::Others }
    }

    /// Rows that violate this constraint are the same.
    pub fn on_constraint(name: impl Into<String>) -> Self {
        Self { target: ConflictTarget::Constraint(name.into()), update: Update::Others }
    }

    /// Sets these columns of the stored row to the values of the new one. By default all that are written are set,
    /// except those of the target.
    pub fn update<C: Into<String>>(self, columns: impl IntoIterator<Item = C>) -> Self {
        Self { update: Update::Columns(columns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Leaves the stored row as it is: no trigger runs, and it is not locked.
    pub fn update_nothing(self) -> Self {
        Self { update: Update::Nothing, ..self }
    }

    pub(crate) fn target(&self) -> &ConflictTarget {
        &self.target
    }

    /// Checks all that can be told without the database.
    pub(crate) fn resolve<I: Insert>(&self) -> Result<Resolution<'_>> {
        self.check_target::<I>()?;
        let set = match &self.update {
            Update::Others => I::COLUMNS.iter().copied().filter(|name| !self.is_target(name)).collect(),
            Update::Columns(columns) if columns.is_empty() => {
                return Err(Error::misuse(
                    "update names no column: use update_nothing to leave the stored row as it is",
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
                    return Err(Error::misuse("a conflict is on one column at least, and none is given"));
                }
                // The columns of the table that the entity leaves out may be written all the same.
                let is_known = |name: &str| I::COLUMNS.contains(&name) || I::Entity::COLUMNS.contains(&name);
                match columns.iter().find(|name| !is_known(name)) {
                    Some(unknown) => Err(entity::unknown_column::<I::Entity>(unknown)),
                    None => no_duplicates("a conflict is on", columns),
                }
            }
            ConflictTarget::Constraint(name) if name.is_empty() => {
                Err(Error::misuse("the name of a constraint is empty"))
            }
            ConflictTarget::Constraint(_) => Ok(()),
        }
    }

    fn named<'a, I: Insert>(&self, columns: &'a [String]) -> Result<Vec<&'a str>> {
        if let Some(unknown) = columns.iter().find(|name| !I::COLUMNS.contains(&name.as_str())) {
            let known = I::COLUMNS.join(", ");
            return Err(Error::misuse(format!(
                "the new row of {} does not write the column {unknown:?}, so there is no value to update it to: it \
                 writes {known}",
                I::Entity::TABLE
            )));
        }
        no_duplicates("update names", columns)?;
        Ok(columns.iter().map(String::as_str).collect())
    }

    fn keep<I: Insert>(&self) -> Result<Resolution<'_>> {
        let ConflictTarget::Columns(columns) = &self.target else {
            return Err(Error::misuse(
                "without an update the stored row is found by the columns of the conflict, and a constraint does not \
                 name them here: use Conflict::on",
            ));
        };
        let index = |name: &String| {
            I::COLUMNS.iter().position(|column| column == name).ok_or_else(|| {
                Error::misuse(format!(
                    "without an update the stored row is found by the columns of the conflict, and the new row of {} \
                     does not write {name:?}: it writes {}",
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

fn no_duplicates(what: &str, columns: &[String]) -> Result<()> {
    match columns.iter().enumerate().find(|(index, name)| columns[..*index].contains(name)) {
        Some((_, twice)) => Err(Error::misuse(format!("{what} the column {twice:?} twice"))),
        None => Ok(()),
    }
}
