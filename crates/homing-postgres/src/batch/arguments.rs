//! The parameters of a statement, kept until their PostgreSQL types are known.

use tokio_postgres::types::ToSql;

use super::step::{ColumnOf, Parameter, ParameterKind};
use crate::entity::update::{self, Update};
use crate::entity::{Entity, Insert};

/// The parameters of a statement.
pub(super) trait Arguments: Send + Sync {
    /// Returns all parameters, in order.
    fn list(&self) -> Vec<Argument<'_>>;

    /// Returns the parameters that the caller gave one by one, which may be references.
    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_>;
}

/// One parameter.
pub(super) enum Argument<'s> {
    Value(&'s (dyn ToSql + Sync)),
    Column(&'s ColumnOf),
}

/// The parameters of raw SQL.
pub(super) struct Given<'a>(pub(super) Vec<Parameter<'a>>);

/// A new row, with values for further columns or in place of its own.
pub(super) struct NewRow<'a, I> {
    pub(super) new: I,
    pub(super) with: Vec<(&'static str, Parameter<'a>)>,
}

pub(super) struct NewRows<I>(pub(super) Vec<I>);

/// An existing row, with values in place of some of its own.
pub(super) struct Stored<'a, T> {
    pub(super) entity: &'a T,
    /// The indexes of the entity's values that the statement takes, in its order.
    pub(super) parameters: Vec<usize>,
    pub(super) with: Vec<(&'static str, Parameter<'a>)>,
}

/// The key of a row, and its version if it has one.
pub(super) struct Identity<'a>(pub(super) Vec<&'a (dyn ToSql + Sync)>);

/// Changes of the row with a key.
pub(super) struct Changes<U: Update> {
    pub(super) key: <U::Entity as Entity>::Key,
    pub(super) update: U,
}

impl Arguments for Given<'_> {
    fn list(&self) -> Vec<Argument<'_>> {
        self.0.iter().map(argument).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(self.0.iter())
    }
}

impl<I: Insert + Send> Arguments for NewRow<'_, I> {
    fn list(&self) -> Vec<Argument<'_>> {
        let own = I::COLUMNS.iter().zip(self.new.values());
        let own = own.map(|(column, value)| replaced(column, value, &self.with));
        let more = self.with.iter().filter(|(column, _)| !I::COLUMNS.contains(column));
        own.chain(more.map(|(_, parameter)| argument(parameter))).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(self.with.iter().map(|(_, parameter)| parameter))
    }
}

impl<I: Insert + Send> Arguments for NewRows<I> {
    fn list(&self) -> Vec<Argument<'_>> {
        self.0.iter().flat_map(Insert::values).map(Argument::Value).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(std::iter::empty())
    }
}

impl<T: Entity + Sync> Arguments for Stored<'_, T> {
    fn list(&self) -> Vec<Argument<'_>> {
        let values = self.entity.values();
        let parameters = self.parameters.iter().map(|&index| (T::COLUMNS[index], values[index]));
        parameters.map(|(column, value)| replaced(column, value, &self.with)).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(self.with.iter().map(|(_, parameter)| parameter))
    }
}

impl Arguments for Identity<'_> {
    fn list(&self) -> Vec<Argument<'_>> {
        self.0.iter().copied().map(Argument::Value).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(std::iter::empty())
    }
}

impl<U: Update + Send> Arguments for Changes<U> {
    fn list(&self) -> Vec<Argument<'_>> {
        update::parameters(&self.key, &self.update).into_iter().map(Argument::Value).collect()
    }

    fn given(&self) -> Box<dyn Iterator<Item = &Parameter<'_>> + '_> {
        Box::new(std::iter::empty())
    }
}

fn argument<'s>(parameter: &'s Parameter<'_>) -> Argument<'s> {
    match &parameter.0 {
        ParameterKind::Value(value) => Argument::Value(&**value),
        ParameterKind::Column(column) => Argument::Column(column),
    }
}

/// Returns the value of a column, or the parameter that replaces it.
fn replaced<'s>(
    column: &str,
    value: &'s (dyn ToSql + Sync),
    with: &'s [(&'static str, Parameter<'_>)],
) -> Argument<'s> {
    let replacement = with.iter().find(|(name, _)| *name == column);
    replacement.map_or(Argument::Value(value), |(_, parameter)| argument(parameter))
}
