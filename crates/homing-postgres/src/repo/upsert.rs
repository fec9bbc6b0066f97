//! Inserting what may be stored already.

use tokio_postgres::types::ToSql;

use super::Repo;
use super::entities::{not_stored, stored};
use crate::engine::execute::{Output, Parameters};
use crate::entity::conflict::Conflict;
use crate::entity::conflict::Resolution;
use crate::entity::parameters::chunks;
use crate::entity::{Entity, Insert, queries};
use crate::error::{Error, Result};

type BoundStatement<'a> = (String, Vec<&'a (dyn ToSql + Sync)>);

/// # Entities that may be stored already
impl Repo {
    /// Stores a new row, or updates the one that it conflicts with. Returns the row as it is stored then, whichever it
    /// was.
    ///
    /// ```no_run
    /// # use homing_postgres::{Conflict, Entity, Insert, Repo, Result};
    /// # async fn example<User: Entity, NewUser: Insert<Entity = User>>(repo: Repo, new: NewUser) -> Result<()> {
    /// let user: User = repo.insert_or_update(&new, &Conflict::on(["email"]).update(["name"])).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With [`update_nothing`](Conflict::update_nothing), and where there is nothing besides the conflict's own columns, the
    /// stored row is read in the same transaction, after the insertion has waited for whoever was storing it at the same
    /// time.
    ///
    /// # Errors
    ///
    /// Misuse, before anything is sent, if the conflict names columns that there are not. PostgreSQL rejects a conflict
    /// on columns without a unique index (SQLSTATE 42P10). Where nothing was to be updated and the stored row was deleted
    /// in the same moment, the error is [`is_not_found`](Error::is_not_found): call again. See [`Error`] for the others.
    pub async fn insert_or_update<I: Insert>(&self, new: &I, conflict: &Conflict) -> Result<I::Entity> {
        let resolution = conflict.resolve::<I>()?;
        let statements = statements(std::slice::from_ref(new), conflict, &resolution);
        self.write_all("insert_or_update", &borrowed(&statements), |outputs| match &resolution {
            Resolution::Set(_) => stored(&outputs[0])?.ok_or_else(not_stored::<I::Entity>),
            Resolution::Keep { .. } => inserted_or_kept(&outputs),
        })
        .await
    }

    /// Stores new rows, or updates those that they conflict with: all or none, in one transaction and one round trip. The
    /// rows come back in the order of `new`.
    ///
    /// Two of the new rows must not conflict with each other. PostgreSQL rejects all where both are in one statement
    /// (SQLSTATE 21000); a statement holds up to 1,024 rows, and where they are in two, the later one is stored over the
    /// earlier. With [`update_nothing`](Conflict::update_nothing) the earlier one is kept, whichever they are; each row
    /// takes two statements on the primary then.
    ///
    /// # Errors
    ///
    /// As [`insert_or_update`](Self::insert_or_update).
    pub async fn insert_or_update_all<I: Insert>(&self, new: &[I], conflict: &Conflict) -> Result<Vec<I::Entity>> {
        let resolution = conflict.resolve::<I>()?;
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let statements = statements(new, conflict, &resolution);
        self.write_all("insert_or_update_all", &borrowed(&statements), |outputs| match &resolution {
            Resolution::Set(_) => outputs.iter().flat_map(|output| &output.rows).map(I::Entity::from_row).collect(),
            Resolution::Keep { .. } => outputs.chunks(2).map(inserted_or_kept).collect(),
        })
        .await
    }
}

fn statements<'a, I: Insert>(
    new: &'a [I],
    conflict: &Conflict,
    resolution: &Resolution<'_>,
) -> Vec<BoundStatement<'a>> {
    let insert = |rows: &'a [I]| {
        let sql = queries::insert_or_update::<I>(conflict.target(), resolution, rows.len());
        (sql, rows.iter().flat_map(Insert::values).collect())
    };
    match resolution {
        Resolution::Set(_) => chunks(new).into_iter().map(insert).collect(),
        Resolution::Keep { by } => {
            let names: Vec<_> = by.iter().map(|&index| I::COLUMNS[index]).collect();
            let select = queries::select_by::<I::Entity>(&names);
            let find = |new: &'a I| {
                let values = new.values();
                (select.clone(), by.iter().map(|&index| values[index]).collect())
            };
            // A statement of its own sees what was committed while the insertion waited; a part of the same one would
            // not.
            new.iter().flat_map(|new| [insert(std::slice::from_ref(new)), find(new)]).collect()
        }
    }
}

fn borrowed<'a>(statements: &'a [BoundStatement<'_>]) -> Vec<(&'a str, &'a Parameters<'a>)> {
    statements.iter().map(|(sql, values)| (sql.as_str(), values.as_slice())).collect()
}

/// The row that was inserted, else the one that was there.
fn inserted_or_kept<T: Entity>(outputs: &[Output]) -> Result<T> {
    for output in outputs {
        if let Some(row) = stored(output)? {
            return Ok(row);
        }
    }
    Err(Error::no_row(format!(
        "the row of {} that the new one conflicts with was deleted in the same moment: call again",
        T::TABLE
    )))
}
