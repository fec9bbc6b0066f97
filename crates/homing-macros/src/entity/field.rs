//! The fields of an entity.

use syn::parse::ParseStream;
use syn::{Field, Ident, LitStr, Type};

use crate::columns::COLUMN;
use crate::errors::Errors;
use crate::options::{self, ON_STRUCT};
use crate::{name, types};

/// The options of a field.
#[derive(Default)]
pub(super) struct FieldOptions {
    pub(super) key: Option<()>,
    pub(super) column: Option<LitStr>,
    /// The name of the option, for errors about it.
    pub(super) read_only: Option<Ident>,
    /// The name of the option, for errors about it.
    pub(super) version: Option<Ident>,
}

impl FieldOptions {
    pub(super) fn read(field: &Field, errors: &mut Errors) -> Self {
        let mut found = Self::default();
        let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
            "key" => {
                options::set(&mut found.key, option, ())?;
                options::flag(option, value)
            }
            "read_only" => {
                options::set(&mut found.read_only, option, option.clone())?;
                options::flag(option, value)
            }
            "version" => {
                options::set(&mut found.version, option, option.clone())?;
                options::flag(option, value)
            }
            "column" => {
                options::set(&mut found.column, option, options::name(option, COLUMN, name::column_fault, value)?)
            }
            "table" => Err(options::misplaced(option, ON_STRUCT)),
            _ => Err(options::unknown(option, &format!("`key`, `read_only`, `version`, `{COLUMN}`"))),
        };
        options::read_attributes(&field.attrs, "entity", "key", errors, read);
        found
    }
}

/// Reports a type or a combination of options that a field cannot have.
pub(super) fn refuse_type(field: &Field, options: &FieldOptions, errors: &mut Errors) {
    if let Type::Reference(reference) = types::bare(&field.ty) {
        errors.at(
            reference,
            "an entity owns its values: write `String` in place of `&str`, `Vec<u8>` in place of `&[u8]`",
        );
    }
    if options.key.is_some() && types::within_option(&field.ty).is_some() {
        errors.at(&field.ty, "a key column is never NULL: remove the `Option`");
    }
    if let (Some(_), Some(read_only)) = (options.key, &options.read_only) {
        errors.at(read_only, "an update never writes the key: remove `read_only`");
    }
    if let Some(version) = &options.version {
        if options.key.is_some() {
            errors.at(version, "the key never changes, and a version changes with each update: remove `version`");
        }
        if options.read_only.is_some() {
            errors.at(version, "each update writes the version: remove `read_only` or `version`");
        }
    }
}
