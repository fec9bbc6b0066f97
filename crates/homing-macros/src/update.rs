//! `#[derive(Update)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::ParseStream;
use syn::{DeriveInput, Field, Generics, Ident, LitStr, Type};

use crate::columns::{self, COLUMN, Column};
use crate::errors::Errors;
use crate::options::{self, ON_FIELD, ON_STRUCT};
use crate::{expand, name, types};

/// Returns the implementation of `homing::Update` for the struct in `item`, and its errors.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    expand::expand(item, |input, errors| Some(Update::read(&input, errors)?.implementation()))
        .unwrap_or_else(syn::Error::into_compile_error)
}

/// A struct with the columns to change.
struct Update {
    ident: Ident,
    generics: Generics,
    entity: Type,
    columns: Vec<Column>,
    /// The version that the caller has read.
    version: Option<Column>,
}

impl Update {
    fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let entity = read_entity(input, errors);
        let fields = columns::fields(input, "Update", errors)?;
        let (mut columns, mut version) = (Vec::new(), None);
        for field in fields {
            let options = FieldOptions::read(field, errors);
            let column = Column::new(field, options.column);
            match options.version {
                Some(option) => {
                    let set = options::set(&mut version, &option, column);
                    errors.keep(set);
                }
                None => columns.push(column),
            }
        }
        columns::refuse_duplicates(&columns, errors);
        if columns.is_empty() {
            errors.at(&input.ident, "an update needs a field for each column that it writes, but it has none");
        }
        let written = columns.iter().map(|column| types::within_option(&column.ty).unwrap_or(&column.ty));
        let generics = columns::with_bounds(input.generics.clone(), written);
        Some(Self { ident: input.ident.clone(), generics, entity: entity?, columns, version })
    }

    fn implementation(&self) -> TokenStream {
        let Self { ident, entity, .. } = self;
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        let changes = self.columns.iter().map(change);
        let version = self.version.as_ref().map(version);
        quote! {
            #[automatically_derived]
            impl #parameters ::homing::Update for #ident #arguments #conditions {
                type Entity = #entity;

                fn changes(&self) -> ::std::vec::Vec<(
                    &'static ::core::primitive::str,
                    &(dyn ::homing::types::ToSql + ::core::marker::Sync),
                )> {
                    let mut __changes = ::std::vec::Vec::new();
                    #(#changes)*
                    __changes
                }

                #version
            }
        }
    }
}

/// Returns the code that adds a column to the changes. An `Option` is added if it has a value.
fn change(column: &Column) -> TokenStream {
    let name = &column.name;
    let place = types::place(&column.ty);
    if types::within_option(&column.ty).is_none() {
        let value = column.parameter();
        return quote! { __changes.push((#name, #value)); };
    }
    let field = column.reference();
    let value = columns::as_parameter(&quote_spanned! {place=> __value }, place);
    quote! {
        if let ::core::option::Option::Some(__value) = #field {
            __changes.push((#name, #value));
        }
    }
}

fn version(column: &Column) -> TokenStream {
    let (ty, field) = (&column.ty, column.reference());
    let value = quote_spanned! {types::place(ty)=> ::homing::__private::version_value::<#ty>(#field) };
    quote! {
        fn version(&self) -> ::core::option::Option<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
            #value
        }
    }
}

fn read_entity(input: &DeriveInput, errors: &mut Errors) -> Option<Type> {
    let mut entity = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "of" => {
            let given = options::ty(option, OF, value)?;
            options::set(&mut entity, option, given)
        }
        "column" | "version" => Err(options::misplaced(option, ON_FIELD)),
        _ => Err(options::unknown(option, &format!("`{OF}`"))),
    };
    if !options::read_attributes(&input.attrs, "update", OF, errors, read) {
        errors.at(&input.ident, format!("missing entity: write `#[update({OF})]` above the struct"));
    }
    entity
}

#[derive(Default)]
struct FieldOptions {
    column: Option<LitStr>,
    /// The name of the option, for errors about it.
    version: Option<Ident>,
}

impl FieldOptions {
    fn read(field: &Field, errors: &mut Errors) -> Self {
        let mut found = Self::default();
        let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
            "column" => {
                options::set(&mut found.column, option, options::name(option, COLUMN, name::column_fault, value)?)
            }
            "version" => {
                options::set(&mut found.version, option, option.clone())?;
                options::flag(option, value)
            }
            "of" => Err(options::misplaced(option, ON_STRUCT)),
            _ => Err(options::unknown(option, &format!("`version`, `{COLUMN}`"))),
        };
        options::read_attributes(&field.attrs, "update", COLUMN, errors, read);
        if let (Some(_), Some(name)) = (&found.version, &found.column) {
            errors.at(name, "the entity has the name of the version's column: remove `column`");
        }
        found
    }
}

const OF: &str = "of = User";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(tokens(text))
    }

    #[test]
    fn options_are_written_if_given() {
        assert_expands(
            expanded(
                "#[update(of = models::User)]
                struct Edit<'a> { name: &'a str, #[update(column = \"Age\")] r#type: Option<Option<i32>> }",
            ),
            &quote! {
                #[automatically_derived]
                impl<'a> ::homing::Update for Edit<'a> {
                    type Entity = models::User;

                    fn changes(&self) -> ::std::vec::Vec<(
                        &'static ::core::primitive::str,
                        &(dyn ::homing::types::ToSql + ::core::marker::Sync),
                    )> {
                        let mut __changes = ::std::vec::Vec::new();
                        __changes.push(("name", &self.name as &(dyn ::homing::types::ToSql + ::core::marker::Sync)));
                        if let ::core::option::Option::Some(__value) = &self.r#type {
                            __changes.push(("Age", __value as &(dyn ::homing::types::ToSql + ::core::marker::Sync)));
                        }
                        __changes
                    }
                }
            },
        );
    }

    #[test]
    fn version_is_compared() {
        let item =
            syn::parse_quote! { #[update(of = User)] struct Edit { #[update(version)] seen: i32, name: String } };
        let update = Update::read(&item, &mut Errors::default()).unwrap();
        assert_eq!(update.columns.len(), 1);
        assert_expands(
            version(update.version.as_ref().unwrap()),
            &quote! {
                fn version(&self) -> ::core::option::Option<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                    ::homing::__private::version_value::<i32>(&self.seen)
                }
            },
        );
    }

    #[test]
    fn bounds_are_those_of_values() {
        let item = syn::parse_quote! { #[update(of = User)] struct Edit<T, U> { a: Option<T>, b: Vec<U>, c: i64 } };
        let update = Update::read(&item, &mut Errors::default()).unwrap();
        let (parameters, arguments, conditions) = update.generics.split_for_impl();
        assert_expands(
            quote! { impl #parameters Edit #arguments #conditions },
            &quote! {
                impl<T, U> Edit<T, U>
                where
                    T: ::homing::types::ToSql + ::core::marker::Sync,
                    Vec<U>: ::homing::types::ToSql + ::core::marker::Sync
            },
        );
    }

    #[test]
    fn all_errors_are_reported_in_place() {
        assert_reported(
            expanded("struct Edit { name: String }"),
            &[("Edit", "missing entity: write `#[update(of = User)]` above the struct")],
        );
        assert_reported(
            expanded(
                "#[update(of = \"users\", into = User, version)] struct Edit {
                    #[update(of = User)] name: String,
                    #[update(column)] age: i32,
                    #[update(column = \"name\")] nick: String,
                    #[update(key)] a: i32,
                    #[update(version = 1)] seen: i32,
                    #[update(version, column = \"v\")] other: i32,
                }",
            ),
            &[
                ("\"users\"", "the value of `of` must be a type: write `of = User`"),
                ("into", "unknown option `into`; valid here: `of = User`"),
                ("version", "`version` belongs on a field, not on the struct"),
                ("of", "`of` belongs on the struct, not on a field"),
                ("column", "`column` needs a value: write `column = \"name\"`"),
                ("key", "unknown option `key`; valid here: `version`, `column = \"name\"`"),
                ("version", "`version` takes no value: write `version` alone"),
                ("\"v\"", "the entity has the name of the version's column: remove `column`"),
                ("version", "`version` is given twice"),
                ("\"name\"", "the field `name` has the column `name` already"),
            ],
        );
        let empty = "an update needs a field for each column that it writes, but it has none";
        let item = "#[update(of = User)] struct Edit { #[update(version)] seen: i32 }";
        assert_reported(expanded(item), &[("Edit", empty)]);
        assert_reported(expanded("#[update(of = User)] struct Edit;"), &[("Edit", empty)]);
    }

    #[test]
    fn other_items_are_refused() {
        let shape = |item: &str| expanded(&format!("#[update(of = User)] {item}"));
        let takes = "`Update` takes a struct with named fields, one for each column";
        assert_reported(shape("struct T(i64, i32);"), &[("(i64, i32)", &format!("{takes}: name these fields"))]);
        assert_reported(shape("enum T { A }"), &[("enum", &format!("{takes}: this is an enum"))]);
    }
}
