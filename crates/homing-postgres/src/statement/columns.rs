//! [`Column`] and [`Columns`], the columns of a result.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tokio_postgres::types::Type;

/// The name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    name: Arc<str>,
    ty: Type,
}

impl Column {
    pub(crate) fn new(name: &str, ty: Type) -> Self {
        Self { name: name.into(), ty }
    }

    /// Returns the name in the result. Several columns may have the same name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the type in the database.
    pub fn type_(&self) -> &Type {
        &self.ty
    }
}

/// The columns of a result, which its rows share.
#[derive(Default)]
pub(crate) struct Columns {
    list: Box<[Column]>,
    /// Where the fields of the first struct are that the rows were read as.
    fields: OnceLock<FieldPlaces>,
}

/// Where the columns with these names are.
#[derive(Debug)]
struct FieldPlaces {
    names: &'static [&'static str],
    places: Vec<usize>,
}

impl Columns {
    /// Returns the indices of the columns with these names, or what is wrong with one of them.
    ///
    /// All rows of a statement share these columns, so the search is made once for the first struct that they are read
    /// as, and again in each row for any other struct.
    pub(super) fn places(&self, names: &'static [&'static str]) -> Result<Cow<'_, [usize]>, String> {
        match self.fields.get() {
            // The same struct passes the same address for each row, and at the same address are the same names.
            Some(known) if std::ptr::eq(known.names, names) => Ok(Cow::Borrowed(&known.places)),
            known => {
                let places: Vec<_> = names.iter().map(|name| place(self, name)).collect::<Result<_, _>>()?;
                if known.is_none() {
                    // If another task was faster, its struct stays.
                    let _ = self.fields.set(FieldPlaces { names, places: places.clone() });
                }
                Ok(Cow::Owned(places))
            }
        }
    }
}

impl FromIterator<Column> for Columns {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Self {
        Self { list: columns.into_iter().collect(), fields: OnceLock::new() }
    }
}

impl Deref for Columns {
    type Target = [Column];

    fn deref(&self) -> &[Column] {
        &self.list
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Columns {}

/// Returns the index of the only column with this name, or what is wrong with the name.
pub(crate) fn place(columns: &[Column], name: &str) -> Result<usize, String> {
    let mut named = columns.iter().enumerate().filter(|(_, column)| &*column.name == name);
    let wrong = match (named.next(), named.next()) {
        (Some((index, _)), None) => return Ok(index),
        (Some(_), Some(_)) => "is there more than once, so give each a name of its own (AS)",
        (None, _) => "does not exist",
    };
    let names: Vec<_> = columns.iter().map(Column::name).collect();
    let names = if names.is_empty() { "no columns".to_owned() } else { names.join(", ") };
    Err(format!("column {name:?} {wrong}: the row has {names}"))
}
