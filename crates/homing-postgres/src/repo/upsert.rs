//! Calls that insert rows which may be stored already.

use tokio_postgres::types::ToSql;

use super::Repo;
use super::entities::{all_stored, not_stored, stored};
use crate::engine::execute::{Output, Parameters, all_rows};
use crate::engine::operation::Operation;
use crate::entity::conflict::{Conflict, Resolution};
use crate::entity::parameters::chunks;
use crate::entity::{Entity, Insert, queries};
use crate::error::{Error, Result};

type BoundStatement<'a> = (String, Vec<&'a (dyn ToSql + Sync)>);

/// # Entities that may be stored already
impl Repo {
    /// Stores a new row, or updates the row that it conflicts with. Returns the row as it is stored afterwards.
    ///
    /// ```no_run
    /// # use homing_postgres::{Conflict, Entity, Insert, Repo, Result};
    /// # async fn example<User: Entity, NewUser: Insert<Entity = User>>(repo: Repo, new: NewUser) -> Result<()> {
    /// let user: User = repo.insert_or_update(&new, &Conflict::on(["email"]).update(["name"])).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With [`update_nothing`](Conflict::update_nothing), or if the new row has no columns besides those of the
    /// conflict, the call reads the stored row in the same transaction. The insertion has then waited for any
    /// transaction that was storing the row at the same time.
    ///
    /// # Errors
    ///
    /// Any of the [four fates](Error), and in particular:
    ///
    /// - [`is_misuse`](Error::is_misuse), before anything is sent, if the conflict names columns that do not exist.
    /// - [`is_rejected`](Error::is_rejected) with SQLSTATE 42P10 if the columns of the conflict have no unique index.
    /// - [`is_not_found`](Error::is_not_found) if a trigger kept the row from being stored, as in [`insert`](Self::insert).
    ///   Also if nothing was to be updated and the stored row was deleted at that moment: call again, unless
    ///   [`is_committed`](Error::is_committed) holds.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn insert_or_update<I: Insert>(&self, new: &I, conflict: &Conflict) -> Result<I::Entity> {
        let resolution = conflict.resolve::<I>()?;
        let statements = statements(std::slice::from_ref(new), conflict, &resolution);
        self.write_all(Operation::on::<I::Entity>("insert_or_update"), &borrowed(&statements), |outputs| {
            match &resolution {
                Resolution::Set(_) => stored(&outputs[0])?.ok_or_else(not_stored::<I::Entity>),
                Resolution::Keep { .. } => inserted_or_kept(&outputs),
            }
        })
        .await
    }

    /// Stores new rows, or updates the rows that they conflict with: all or none, in one transaction and one round
    /// trip. Returns the rows in the order of `new`.
    ///
    /// Two of the new rows must not conflict with each other. A statement holds up to 1,024 rows. If both rows are in
    /// one statement, PostgreSQL rejects the call (SQLSTATE 21000); if they are in two, the later row is stored over
    /// the earlier one. With [`update_nothing`](Conflict::update_nothing) the earlier row is always kept, and each row
    /// takes two statements on the primary.
    ///
    /// # Errors
    ///
    /// Those of [`insert_or_update`](Self::insert_or_update), and that of [`insert_all`](Self::insert_all) if not all
    /// rows were stored.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn insert_or_update_all<I: Insert>(&self, new: &[I], conflict: &Conflict) -> Result<Vec<I::Entity>> {
        let resolution = conflict.resolve::<I>()?;
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let statements = statements(new, conflict, &resolution);
        self.write_all(Operation::on::<I::Entity>("insert_or_update_all"), &borrowed(&statements), |outputs| {
            match &resolution {
                Resolution::Set(_) => all_stored(&all_rows(outputs), new.len()),
                Resolution::Keep { .. } => outputs.chunks(2).map(inserted_or_kept).collect(),
            }
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
            // A separate statement sees rows that were committed while the insertion waited. A part of the same
            // statement would not see them.
            new.iter().flat_map(|new| [insert(std::slice::from_ref(new)), find(new)]).collect()
        }
    }
}

fn borrowed<'a>(statements: &'a [BoundStatement<'_>]) -> Vec<(&'a str, &'a Parameters<'a>)> {
    statements.iter().map(|(sql, values)| (sql.as_str(), values.as_slice())).collect()
}

/// Returns the inserted row, or else the row that was stored before.
fn inserted_or_kept<T: Entity>(outputs: &[Output]) -> Result<T> {
    for output in outputs {
        if let Some(row) = stored(output)? {
            return Ok(row);
        }
    }
    Err(Error::not_found(format!(
        "{} has neither the new row nor one that it conflicts with: the stored row was deleted at that moment, or a trigger \
         kept the new one from being stored there; call again only if nothing is committed",
        T::TABLE
    )))
}
