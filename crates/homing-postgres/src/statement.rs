//! A statement: its text, its types, its parameters and its rows.

pub(crate) mod columns;
pub(crate) mod copy;
pub(crate) mod description;
pub(crate) mod fields;
pub(crate) mod kind;
pub(crate) mod numeric;
pub(crate) mod refusal;
pub(crate) mod row;
pub(crate) mod sql;
pub(crate) mod types;
pub(crate) mod values;
mod words;
