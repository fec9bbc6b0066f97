//! [`Batch`], the steps of a call before it runs.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::arguments::{Arguments, Changes, Given, Identity, NewRow, NewRows, Stored};
use super::results::Value;
use super::step::{BatchId, Parameter, ParameterKind, Step};
use crate::engine::execute::{Output, all_rows};
use crate::entity::parameters::{chunks, identity_of};
use crate::entity::update::{self, Update};
use crate::entity::{Entity, Insert, check_written, queries};
use crate::error::{Error, Result};
use crate::statement::row::Row;
use crate::statement::sql;

/// Several named steps that run in one transaction and one round trip. All are committed, or none. A later step may use
/// columns of an earlier step's row.
///
/// ```no_run
/// # use homing_postgres::{Batch, Entity, Insert, Repo, Result, params};
/// # async fn example<Author, NewAuthor, Book, NewBook>(repo: Repo, ada: NewAuthor, notes: NewBook) -> Result<()>
/// # where
/// #     Author: Entity + Sync, NewAuthor: Insert<Entity = Author> + Send,
/// #     Book: Entity + Sync, NewBook: Insert<Entity = Book> + Send,
/// # {
/// let mut batch = Batch::new();
/// let author = batch.insert("author", ada)?;
/// let book = batch.insert_with("book", notes, [("author_id", author.column("id"))])?;
/// let sql = "update counters set books = books + $1 where author_id = $2";
/// let counter = batch.execute("counter", sql, params![1_i64, author.column("id")])?;
/// batch.expect_rows(&counter, 1)?;
///
/// let mut results = repo.batch(&batch).await?;
/// let (author, book): (Author, Book) = (results.take(&author), results.take(&book));
/// # Ok(())
/// # }
/// ```
///
/// A batch owns its values, or borrows them from variables that were declared before the batch. Nothing is sent before
/// [`Repo::batch`](crate::Repo::batch). If that call fails, [`Error::step`] names the step. A batch may be run again,
/// even after it was committed.
///
/// # Errors
///
/// Every method that adds a step fails with [`is_misuse`](Error::is_misuse), and does not add the step, if
///
/// - the batch already has a step with that name,
/// - a parameter refers to a step of another batch, or to a column that the step's entity does not have, or
/// - the batch has more than 16,384 statements.
pub struct Batch<'a> {
    pub(super) id: BatchId,
    pub(super) steps: Vec<Plan>,
    pub(crate) statements: Vec<BatchStatement<'a>>,
    names: HashMap<Arc<str>, usize>,
}

/// A step before it runs.
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    /// The index of its first statement, and the number of its statements.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) decode: Decode,
    /// Its columns, if they are known without asking a database.
    columns: Option<&'static [&'static str]>,
    pub(super) table: &'static str,
    /// Whether its row has to have a version.
    pub(super) compares_version: bool,
}

/// Makes the result of a step from the outputs of its statements.
pub(super) type Decode = Box<dyn Fn(Vec<Output>) -> Result<Value> + Send + Sync>;

/// A statement of a step.
pub(crate) struct BatchStatement<'a> {
    pub(super) step: usize,
    pub(super) sql: Arc<str>,
    pub(super) arguments: Box<dyn Arguments + 'a>,
    pub(super) expected_rows: Option<u64>,
}

impl<'a> Batch<'a> {
    /// Makes a batch without steps.
    pub fn new() -> Self {
        Self { id: BatchId::next(), steps: Vec::new(), statements: Vec::new(), names: HashMap::new() }
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns whether the batch has no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a step that stores a new row. The step's result is the row as it is stored.
    ///
    /// If a trigger keeps the row from being stored, the batch is rolled back with the error
    /// [`is_not_found`](Error::is_not_found).
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors).
    pub fn insert<I>(&mut self, name: impl Into<String>, new: I) -> Result<Step<I::Entity>>
    where
        I: Insert<Entity: Sync> + Send + 'a,
    {
        self.insert_with(name, new, [])
    }

    /// Adds a step that stores a new row, with values for further columns or in place of its own values. The step's
    /// result is the row as it is stored.
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors); [`is_misuse`](Error::is_misuse) if the entity does not have one of the
    /// columns, or if a column is given twice.
    pub fn insert_with<I>(
        &mut self,
        name: impl Into<String>,
        new: I,
        with: impl IntoIterator<Item = (&'static str, Parameter<'a>)>,
    ) -> Result<Step<I::Entity>>
    where
        I: Insert<Entity: Sync> + Send + 'a,
    {
        let (name, with) = (name.into(), Vec::from_iter(with));
        check_columns::<I::Entity>(&with, I::COLUMNS).map_err(|error| error.in_step(&name))?;
        let more: Vec<_> = with.iter().map(|(column, _)| *column).filter(|name| !I::COLUMNS.contains(name)).collect();
        let sql = queries::insert_with::<I>(1, &more);
        let statement = (sql, Box::new(NewRow { new, with }) as Box<dyn Arguments + 'a>, Some(1));
        self.add(Added::of::<I::Entity>(name, one_row::<I::Entity>), [statement])
    }

    /// Adds a step that stores new rows. The step's result is the list of rows as they are stored. Later steps refer to
    /// the first row. If a trigger keeps a row from being stored, the batch is rolled back.
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors).
    pub fn insert_all<I>(
        &mut self,
        name: impl Into<String>,
        new: impl IntoIterator<Item = I>,
    ) -> Result<Step<Vec<I::Entity>>>
    where
        I: Insert<Entity: Sync> + Send + 'a,
    {
        let mut new = Vec::from_iter(new).into_iter();
        let sizes: Vec<_> = chunks(new.as_slice()).iter().map(|chunk| chunk.len()).collect();
        let statement = |size| {
            let rows: Vec<I> = new.by_ref().take(size).collect();
            let arguments = Box::new(NewRows(rows)) as Box<dyn Arguments + 'a>;
            (queries::insert::<I>(size), arguments, Some(size as u64))
        };
        let statements: Vec<_> = sizes.into_iter().map(statement).collect();
        self.add(Added::of::<I::Entity>(name, entities::<I::Entity>), statements)
    }

    /// Adds a step that stores all fields of an existing row. The step's result is the row as it is stored.
    ///
    /// If the table has no row with that key, the batch is rolled back with the error
    /// [`is_not_found`](Error::is_not_found). If the entity has a version, and the row has another one or does not exist,
    /// the error is [`is_outdated`](Error::is_outdated).
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors).
    pub fn update<T: Entity + Sync>(&mut self, name: impl Into<String>, entity: &'a T) -> Result<Step<T>> {
        self.update_with(name, entity, [])
    }

    /// Adds a step like [`update`](Self::update), with values in place of some of the entity's own.
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors); [`is_misuse`](Error::is_misuse) if the entity does not have one of the
    /// columns, or if a column is part of the key, is read only, is the version or is given twice.
    pub fn update_with<T: Entity + Sync>(
        &mut self,
        name: impl Into<String>,
        entity: &'a T,
        with: impl IntoIterator<Item = (&'static str, Parameter<'a>)>,
    ) -> Result<Step<T>> {
        let (name, with) = (name.into(), Vec::from_iter(with));
        check_columns::<T>(&with, &[]).map_err(|error| error.in_step(&name))?;
        let replaced = with.iter().try_for_each(|(column, _)| check_written::<T>(column));
        replaced.map_err(|error| error.in_step(&name))?;
        let (sql, parameters) = queries::update::<T>();
        let arguments = Box::new(Stored { entity, parameters, with }) as Box<dyn Arguments + 'a>;
        let added = Added::of::<T>(name, one_row::<T>).comparing_version(T::VERSION.is_some());
        self.add(added, [(sql, arguments, Some(1))])
    }

    /// Adds a step that stores the given columns of the row with a key, as
    /// [`Repo::update_columns`](crate::Repo::update_columns) does. The step's result is the row as it is stored.
    ///
    /// If the table has no row with that key, the batch is rolled back with the error
    /// [`is_not_found`](Error::is_not_found). If the changes have a version, the error is
    /// [`is_outdated`](Error::is_outdated) in this case too.
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors); [`is_misuse`](Error::is_misuse) if a column is part of the key, read only or
    /// the version, or if a version is given and the entity has none.
    pub fn update_columns<U>(
        &mut self,
        name: impl Into<String>,
        key: <U::Entity as Entity>::Key,
        update: U,
    ) -> Result<Step<U::Entity>>
    where
        U: Update<Entity: Entity<Key: 'a> + Sync> + Send + 'a,
    {
        let name = name.into();
        let sql = update::statement(&update).map_err(|error| error.in_step(&name))?;
        let added = Added::of::<U::Entity>(name, one_row::<U::Entity>).comparing_version(update.version().is_some());
        let arguments = Box::new(Changes { key, update }) as Box<dyn Arguments + 'a>;
        self.add(added, [(sql, arguments, Some(1))])
    }

    /// Adds a step that deletes a row. The step's result is the row as it was stored.
    ///
    /// If the row does not exist or has another version, the batch is rolled back as by [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors).
    pub fn delete<T: Entity + Sync>(&mut self, name: impl Into<String>, entity: &'a T) -> Result<Step<T>> {
        let arguments = Box::new(Identity(identity_of(entity))) as Box<dyn Arguments + 'a>;
        let added = Added::of::<T>(name, one_row::<T>).comparing_version(T::VERSION.is_some());
        self.add(added, [(queries::delete::<T>(), arguments, Some(1))])
    }

    /// Adds a step that runs a statement. The step's result is the number of rows that the statement affected.
    ///
    /// # Errors
    ///
    /// Those of [every step](Batch#errors); [`is_misuse`](Error::is_misuse) if the statement needs a connection of its
    /// own.
    pub fn execute(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<u64>> {
        self.raw(name, sql, parameters, None, |outputs| Ok(outputs.iter().map(|output| output.rows_affected).sum()))
    }

    /// Adds a step that runs a statement. The step's result is the statement's rows.
    ///
    /// # Errors
    ///
    /// Those of [`execute`](Self::execute).
    pub fn query(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<Vec<Row>>> {
        self.raw(name, sql, parameters, None, |outputs| Ok(all_rows(outputs)))
    }

    /// Adds a step that runs a statement which returns one row. The step's result is this row.
    ///
    /// If the statement returns no row, the batch is rolled back with the error [`is_not_found`](Error::is_not_found);
    /// if it returns several, with [`is_too_many_rows`](Error::is_too_many_rows).
    ///
    /// # Errors
    ///
    /// Those of [`execute`](Self::execute).
    pub fn query_one(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<Row>> {
        self.raw(name, sql, parameters, Some(1), |outputs| {
            all_rows(outputs).pop().ok_or_else(|| Error::decode("the statement returned no row"))
        })
    }

    /// Rolls the batch back unless the step affects or returns exactly `rows` rows.
    ///
    /// The error of [`Repo::batch`](crate::Repo::batch) is then [`is_not_found`](Error::is_not_found) if there were no
    /// rows, [`is_too_many_rows`](Error::is_too_many_rows) if there were too many, and otherwise
    /// [`is_rejected`](Error::is_rejected).
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the step belongs to another batch, or is an [`insert_all`](Self::insert_all).
    pub fn expect_rows<T>(&mut self, step: impl Borrow<Step<T>>, rows: u64) -> Result<()> {
        let step = step.borrow();
        self.check_belongs(step.batch)?;
        let Plan { first, count, .. } = self.steps[step.index];
        let [statement] = &mut self.statements[first..first + count] else {
            let message = "expect_rows does not apply to insert_all, which stores as many rows as it is given";
            return Err(Error::misuse(message).in_step(step.name()));
        };
        statement.expected_rows = Some(rows);
        Ok(())
    }

    /// Returns a parameter like [`Step::column`], by the name of the earlier step.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](Error::is_misuse) if the batch does not have a step with that name yet.
    pub fn column(&self, step: &str, column: impl Into<String>) -> Result<Parameter<'static>> {
        let Some((name, &index)) = self.names.get_key_value(step) else {
            return Err(Error::misuse(format!("the batch has no step named {step:?} yet: add that step first")));
        };
        Ok(Step::<()>::new(self.id, index, Arc::clone(name)).column(column))
    }

    fn raw<T: Send + Sync + 'static>(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
        expected_rows: Option<u64>,
        decode: fn(Vec<Output>) -> Result<T>,
    ) -> Result<Step<T>> {
        let sql = sql.into();
        let name = name.into();
        sql::destination(&sql).map_err(|error| error.in_step(&name))?;
        let arguments = Box::new(Given(Vec::from_iter(parameters))) as Box<dyn Arguments + 'a>;
        let added = Added { name, columns: None, table: "", compares_version: false, decode };
        self.add(added, [(sql, arguments, expected_rows)])
    }

    fn add<T: Send + Sync + 'static>(
        &mut self,
        added: Added<T>,
        statements: impl IntoIterator<Item = (String, Box<dyn Arguments + 'a>, Option<u64>)>,
    ) -> Result<Step<T>> {
        let Added { name, columns, table, compares_version, decode } = added;
        if self.names.contains_key(name.as_str()) {
            return Err(Error::misuse(format!("the batch already has a step named {name:?}")).in_step(&name));
        }
        let (step, first) = (self.steps.len(), self.statements.len());
        let statement = |(sql, arguments, expected_rows): (String, _, _)| BatchStatement {
            step,
            sql: sql.into(),
            arguments,
            expected_rows,
        };
        let statements: Vec<_> = statements.into_iter().map(statement).collect();
        for statement in &statements {
            self.check_references(&*statement.arguments).map_err(|error| error.in_step(&name))?;
        }
        let count = statements.len();
        if first + count > MAX_STATEMENTS {
            let message = format!(
                "a batch has at most {MAX_STATEMENTS} statements: run several batches, or use a named function"
            );
            return Err(Error::misuse(message).in_step(&name));
        }
        self.statements.extend(statements);
        let name: Arc<str> = name.into();
        let decode: Decode = Box::new(move |outputs| Ok(Box::new(decode(outputs)?)));
        self.steps.push(Plan { name: Arc::clone(&name), first, count, decode, columns, table, compares_version });
        self.names.insert(Arc::clone(&name), step);
        Ok(Step::new(self.id, step, name))
    }

    fn check_references(&self, arguments: &dyn Arguments) -> Result<()> {
        for parameter in arguments.given() {
            let ParameterKind::Column(reference) = &parameter.0 else { continue };
            self.check_belongs(reference.batch)?;
            // The step exists: only a step that was added can be referred to.
            let plan = &self.steps[reference.step];
            if plan.count == 0 {
                return Err(Error::misuse(format!("step {:?} stores no rows, so it has no columns to use", plan.name)));
            }
            if let Some(columns) = plan.columns
                && !columns.contains(&reference.column.as_str())
            {
                return Err(no_column(plan.table, &reference.column, columns));
            }
        }
        Ok(())
    }

    fn check_belongs(&self, batch: BatchId) -> Result<()> {
        if batch == self.id { Ok(()) } else { Err(Error::misuse("the step belongs to another batch")) }
    }
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch<'_> {
    /// Writes the names of the steps, never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.name)).finish()
    }
}

/// A step that is being added.
struct Added<T> {
    name: String,
    columns: Option<&'static [&'static str]>,
    table: &'static str,
    compares_version: bool,
    decode: fn(Vec<Output>) -> Result<T>,
}

impl<T> Added<T> {
    fn of<E: Entity>(name: impl Into<String>, decode: fn(Vec<Output>) -> Result<T>) -> Self {
        Self { name: name.into(), columns: Some(E::COLUMNS), table: E::TABLE, compares_version: false, decode }
    }

    fn comparing_version(self, compares_version: bool) -> Self {
        Self { compares_version, ..self }
    }
}

/// Refuses a column that neither the entity nor `others` has, and one that is given twice.
fn check_columns<E: Entity>(with: &[(&str, Parameter<'_>)], others: &[&str]) -> Result<()> {
    for (index, (name, _)) in with.iter().enumerate() {
        if !E::COLUMNS.contains(name) && !others.contains(name) {
            return Err(no_column(E::TABLE, name, E::COLUMNS));
        }
        if with[..index].iter().any(|(before, _)| before == name) {
            return Err(Error::misuse(format!("column {name:?} is given twice")));
        }
    }
    Ok(())
}

fn no_column(table: &str, name: &str, columns: &[&str]) -> Error {
    Error::misuse(format!("{table} has no column {name:?}: it has {}", columns.join(", ")))
}

fn entities<T: Entity>(outputs: Vec<Output>) -> Result<Vec<T>> {
    all_rows(outputs).iter().map(T::from_row).collect()
}

/// Decodes the only row. The primary checked before the commit that there is one.
fn one_row<T: Entity>(outputs: Vec<Output>) -> Result<T> {
    let row = all_rows(outputs).pop().ok_or_else(|| Error::decode("the statement returned no row"))?;
    T::from_row(&row)
}

/// Each statement is a round trip between the primary's node and its database, so more of them would not end within the
/// time limit of a call. A larger import is a named function.
const MAX_STATEMENTS: usize = 16_384;
