//! The steps of a batch before it runs.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::arguments::{Arguments, Given, KeyArguments, NewRow, NewRows, Stored};
use super::results::Value;
use super::step::{BatchId, Parameter, ParameterKind, Step};
use crate::engine::execute::Output;
use crate::entity::parameters::{chunks, key_of};
use crate::entity::{Entity, Insert, queries};
use crate::error::{Error, Result};
use crate::statement::row::Row;
use crate::statement::sql;

/// Several named steps that run in one transaction and one round trip; a later one may use columns of an earlier one's
/// row. All are committed, or none.
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
/// Values are taken by value, or borrowed from what was declared before the batch. Nothing is sent before [`Repo::batch`](crate::Repo::batch). If it fails, [`Error::step`] names the step; it may be
/// run again, also one that was committed.
///
/// # Errors
///
/// Those of all methods: misuse, if there is a step of that name already, if a parameter refers to a step of another
/// batch or to a column that its entity does not have, or if there are more than 16,384 statements. The step is not
/// added then.
pub struct Batch<'a> {
    pub(super) id: BatchId,
    pub(super) steps: Vec<Plan>,
    pub(crate) statements: Vec<BatchStatement<'a>>,
    names: HashMap<Arc<str>, usize>,
}

/// A step before it runs.
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    /// The first of its statements, and how many it has.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) decode: Decode,
    /// Where they are known without asking a database.
    columns: Option<&'static [&'static str]>,
    table: &'static str,
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
    /// A batch without steps.
    pub fn new() -> Self {
        Self { id: BatchId::next(), steps: Vec::new(), statements: Vec::new(), names: HashMap::new() }
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Stores a new row. Its result is the row as it is stored.
    ///
    /// # Errors
    ///
    /// See [`Batch`].
    pub fn insert<I>(&mut self, name: impl Into<String>, new: I) -> Result<Step<I::Entity>>
    where
        I: Insert<Entity: Sync> + Send + 'a,
    {
        self.insert_with(name, new, [])
    }

    /// Stores a new row with further columns, or with others than its own. Its result is the row as it is stored.
    ///
    /// # Errors
    ///
    /// Misuse, if one of the columns is none of the entity's. See [`Batch`] for the others.
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

    /// Stores new rows. Its result are the rows as they are stored; the first one is what later steps refer to.
    ///
    /// # Errors
    ///
    /// See [`Batch`].
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
            (queries::insert::<I>(size), Box::new(NewRows(rows)) as Box<dyn Arguments + 'a>, None)
        };
        let statements: Vec<_> = sizes.into_iter().map(statement).collect();
        self.add(Added::of::<I::Entity>(name, all_rows::<I::Entity>), statements)
    }

    /// Stores all fields of a row that exists. Its result is the row as it is stored. If there is no row of that key,
    /// the batch is rolled back and the error is [`is_not_found`](Error::is_not_found).
    ///
    /// # Errors
    ///
    /// See [`Batch`].
    pub fn update<T: Entity + Sync>(&mut self, name: impl Into<String>, entity: &'a T) -> Result<Step<T>> {
        self.update_with(name, entity, [])
    }

    /// Stores all fields of a row that exists, some of them with other values than the entity's. As
    /// [`update`](Self::update) otherwise.
    ///
    /// # Errors
    ///
    /// Misuse, if one of the columns is none of the entity's, is part of its key or read only. See [`Batch`] for the others.
    pub fn update_with<T: Entity + Sync>(
        &mut self,
        name: impl Into<String>,
        entity: &'a T,
        with: impl IntoIterator<Item = (&'static str, Parameter<'a>)>,
    ) -> Result<Step<T>> {
        let (name, with) = (name.into(), Vec::from_iter(with));
        check_columns::<T>(&with, &[]).map_err(|error| error.in_step(&name))?;
        if let Some((key, _)) = with.iter().find(|(column, _)| T::KEY.contains(column)) {
            let message = format!("{key:?} is part of the key of {}: it says which row", T::TABLE);
            return Err(Error::misuse(message).in_step(&name));
        }
        if let Some((computed, _)) = with.iter().find(|(column, _)| T::READ_ONLY.contains(column)) {
            let message = format!("{computed:?} of {} is read only", T::TABLE);
            return Err(Error::misuse(message).in_step(&name));
        }
        let (sql, parameters) = queries::update::<T>();
        let arguments = Box::new(Stored { entity, parameters, with }) as Box<dyn Arguments + 'a>;
        self.add(Added::of::<T>(name, one_row::<T>), [(sql, arguments, Some(1))])
    }

    /// Deletes a row. Its result is the row as it was. If there is no row of that key, the batch is rolled back and the
    /// error is [`is_not_found`](Error::is_not_found).
    ///
    /// # Errors
    ///
    /// See [`Batch`].
    pub fn delete<T: Entity + Sync>(&mut self, name: impl Into<String>, entity: &'a T) -> Result<Step<T>> {
        let arguments = Box::new(KeyArguments(key_of(entity))) as Box<dyn Arguments + 'a>;
        self.add(Added::of::<T>(name, one_row::<T>), [(queries::delete::<T>(), arguments, Some(1))])
    }

    /// Runs a statement. Its result is how many rows it affected.
    ///
    /// # Errors
    ///
    /// Misuse, if it is a statement that needs a connection of its own. See [`Batch`] for the others.
    pub fn execute(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<u64>> {
        self.raw(name, sql, parameters, None, |outputs| Ok(outputs.iter().map(|output| output.rows_affected).sum()))
    }

    /// Runs a statement. Its result are its rows.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn query(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<Vec<Row>>> {
        self.raw(name, sql, parameters, None, |outputs| Ok(rows(outputs)))
    }

    /// Runs a statement that returns one row, which is its result. If it returns none or several, the batch is rolled
    /// back.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn query_one(
        &mut self,
        name: impl Into<String>,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = Parameter<'a>>,
    ) -> Result<Step<Row>> {
        self.raw(name, sql, parameters, Some(1), |outputs| {
            rows(outputs).pop().ok_or_else(|| Error::decode("the statement returned no row"))
        })
    }

    /// Rolls the batch back unless the step affects, or returns, exactly that many rows. An error of no rows at all is
    /// [`is_not_found`](Error::is_not_found), one of too many is [`is_too_many_rows`](Error::is_too_many_rows).
    ///
    /// # Errors
    ///
    /// Misuse, if the step belongs to another batch, or is an [`insert_all`](Self::insert_all).
    pub fn expect_rows<T>(&mut self, step: impl Borrow<Step<T>>, rows: u64) -> Result<()> {
        let step = step.borrow();
        self.check_belongs(step.batch)?;
        let Plan { first, count, .. } = self.steps[step.index];
        let [statement] = &mut self.statements[first..first + count] else {
            let message = "the rows of an insert_all are as many as it is given";
            return Err(Error::misuse(message).in_step(step.name()));
        };
        statement.expected_rows = Some(rows);
        Ok(())
    }

    /// The value that a column of an earlier step's first row will have, by the step's name. As [`Step::column`].
    ///
    /// # Errors
    ///
    /// Misuse, if there is no step of that name yet.
    pub fn column(&self, step: &str, column: impl Into<String>) -> Result<Parameter<'static>> {
        let Some((name, &index)) = self.names.get_key_value(step) else {
            return Err(Error::misuse(format!("there is no step named {step:?} yet: a step can use those before it")));
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
        self.add(Added { name, columns: None, table: "", decode }, [(sql, arguments, expected_rows)])
    }

    fn add<T: Send + Sync + 'static>(
        &mut self,
        added: Added<T>,
        statements: impl IntoIterator<Item = (String, Box<dyn Arguments + 'a>, Option<u64>)>,
    ) -> Result<Step<T>> {
        let Added { name, columns, table, decode } = added;
        if self.names.contains_key(name.as_str()) {
            return Err(Error::misuse(format!("there is a step named {name:?} already")).in_step(&name));
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
            let message = format!("a batch may have {MAX_STATEMENTS} statements: run several, or use a named function");
            return Err(Error::misuse(message).in_step(&name));
        }
        self.statements.extend(statements);
        let name: Arc<str> = name.into();
        let decode: Decode = Box::new(move |outputs| Ok(Box::new(decode(outputs)?)));
        self.steps.push(Plan { name: Arc::clone(&name), first, count, decode, columns, table });
        self.names.insert(Arc::clone(&name), step);
        Ok(Step::new(self.id, step, name))
    }

    fn check_references(&self, arguments: &dyn Arguments) -> Result<()> {
        for parameter in arguments.given() {
            let ParameterKind::Column(reference) = &parameter.0 else { continue };
            self.check_belongs(reference.batch)?;
            // A step that was added exists, and nothing can refer to one that was not.
            let plan = &self.steps[reference.step];
            if plan.count == 0 {
                return Err(Error::misuse(format!("step {:?} stores no rows, so that none can be used", plan.name)));
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
        if batch == self.id { Ok(()) } else { Err(Error::misuse("it refers to a step of another batch")) }
    }
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch<'_> {
    /// The names of the steps; never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.name)).finish()
    }
}

/// A step that is being added.
struct Added<T> {
    name: String,
    columns: Option<&'static [&'static str]>,
    table: &'static str,
    decode: fn(Vec<Output>) -> Result<T>,
}

impl<T> Added<T> {
    fn of<E: Entity>(name: impl Into<String>, decode: fn(Vec<Output>) -> Result<T>) -> Self {
        Self { name: name.into(), columns: Some(E::COLUMNS), table: E::TABLE, decode }
    }
}

/// Whether the columns are the entity's or among the others, and no two are the same.
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

fn rows(outputs: Vec<Output>) -> Vec<Row> {
    outputs.into_iter().flat_map(|output| output.rows).collect()
}

fn all_rows<T: Entity>(outputs: Vec<Output>) -> Result<Vec<T>> {
    outputs.iter().flat_map(|output| &output.rows).map(T::from_row).collect()
}

/// That there is one was checked before the commit.
fn one_row<T: Entity>(outputs: Vec<Output>) -> Result<T> {
    let row = rows(outputs).pop().ok_or_else(|| Error::decode("the statement returned no row"))?;
    T::from_row(&row)
}

/// Each is a round trip between the primary's node and its database, and a request that takes longer than the time limit
/// is not worth sending. A demanding import is a named function.
const MAX_STATEMENTS: usize = 16_384;
