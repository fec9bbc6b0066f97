//! The parameters of statements about entities.

use tokio_postgres::types::ToSql;

use super::{Entity, Insert};
use crate::statement::values::MAX_PARAMETERS;

/// Chunks whose sizes are powers of two: a statement is prepared for each size, and there are few of them.
pub(crate) fn chunks<I: Insert>(mut rows: &[I]) -> Vec<&[I]> {
    let most = match I::COLUMNS.len() {
        // `default values` stores one row.
        0 => 1,
        columns => (MAX_PARAMETERS / columns).clamp(1, MAX_ROWS),
    };
    let mut chunks = Vec::new();
    while !rows.is_empty() {
        let size = 1 << rows.len().min(most).ilog2();
        let (chunk, rest) = rows.split_at(size);
        chunks.push(chunk);
        rows = rest;
    }
    chunks
}

pub(crate) fn key_of<T: Entity>(entity: &T) -> Vec<&(dyn ToSql + Sync)> {
    let values = entity.values();
    let index = |name: &&str| T::COLUMNS.iter().position(|column| column == name).expect("a key's column is a column");
    T::KEY.iter().map(|name| values[index(name)]).collect()
}

/// Returns the key of an entity and, if it has one, its version.
pub(crate) fn identity_of<T: Entity>(entity: &T) -> Vec<&(dyn ToSql + Sync)> {
    let mut identity = key_of(entity);
    let version = T::VERSION.and_then(|name| T::COLUMNS.iter().position(|column| *column == name));
    identity.extend(version.map(|index| entity.values()[index]));
    identity
}

/// Beyond this a statement gains nothing by being longer.
const MAX_ROWS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::FromRow;
    use crate::error::Result;
    use crate::statement::row::Row;

    struct Wide;

    impl FromRow for Wide {
        fn from_row(_: &Row) -> Result<Self> {
            Ok(Self)
        }
    }

    impl Entity for Wide {
        type Key = i32;
        const TABLE: &'static str = "wide";
        const COLUMNS: &'static [&'static str] = &["id"];
        const KEY: &'static [&'static str] = &["id"];

        fn key_values(key: &i32) -> Vec<&(dyn ToSql + Sync)> {
            vec![key]
        }

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    struct NewWide<const COLUMNS: usize>;

    impl<const COLUMNS: usize> Insert for NewWide<COLUMNS> {
        type Entity = Wide;
        const COLUMNS: &'static [&'static str] = [""; 1600].split_at(COLUMNS).0;

        fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
            Vec::new()
        }
    }

    fn sizes<const COLUMNS: usize>(rows: usize) -> Vec<usize> {
        let rows: Vec<_> = (0..rows).map(|_| NewWide::<COLUMNS>).collect();
        chunks(&rows).iter().map(|chunk| chunk.len()).collect()
    }

    #[test]
    fn chunks_are_powers_of_two_that_fit_into_a_message() {
        assert_eq!(sizes::<2>(1), [1]);
        assert_eq!(sizes::<2>(1000), [512, 256, 128, 64, 32, 8]);
        assert_eq!(sizes::<2>(2050), [1024, 1024, 2]);
        assert_eq!(sizes::<1600>(50), [32, 16, 2]);
        assert_eq!(sizes::<0>(3), [1, 1, 1]);
    }
}
