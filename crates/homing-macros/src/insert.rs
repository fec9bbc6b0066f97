//! `#[derive(Insert)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::ParseStream;
use syn::{DeriveInput, Field, Generics, Ident, Type};

use crate::columns::{self, COLUMN, Column};
use crate::errors::Errors;
use crate::options::{self, ON_FIELD, ON_STRUCT};
use crate::{expand, name};

/// Returns the implementation of `homing::Insert` for the struct in `item`, and its errors.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    expand::expand(item, |input, errors| Some(Insert::read(&input, errors)?.implementation()))
        .unwrap_or_else(syn::Error::into_compile_error)
}

/// A struct with the columns to write.
struct Insert {
    ident: Ident,
    generics: Generics,
    entity: Type,
    columns: Vec<Column>,
}

impl Insert {
    fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let entity = read_entity(input, errors);
        let fields = columns::fields(input, "Insert", errors)?;
        let columns: Vec<Column> = fields.into_iter().map(|field| read_column(field, errors)).collect();
        columns::refuse_duplicates(&columns, errors);
        let generics = columns::with_bounds(input.generics.clone(), columns.iter().map(|column| &column.ty));
        Some(Self { ident: input.ident.clone(), generics, entity: entity?, columns })
    }

    fn implementation(&self) -> TokenStream {
        let Self { ident, entity, .. } = self;
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        let names = self.columns.iter().map(|column| &column.name);
        let values = self.columns.iter().map(Column::parameter);
        quote! {
            #[automatically_derived]
            impl #parameters ::homing::Insert for #ident #arguments #conditions {
                type Entity = #entity;
                const COLUMNS: &'static [&'static ::core::primitive::str] = &[#(#names),*];

                fn values(&self) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                    ::std::vec![#(#values),*]
                }
            }
        }
    }
}

fn read_entity(input: &DeriveInput, errors: &mut Errors) -> Option<Type> {
    let mut entity = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "into" => {
            let given = options::ty(option, INTO, value)?;
            options::set(&mut entity, option, given)
        }
        "column" => Err(options::misplaced(option, ON_FIELD)),
        _ => Err(options::unknown(option, &format!("`{INTO}`"))),
    };
    if !options::read_attributes(&input.attrs, "insert", INTO, errors, read) {
        let advice = format!("missing entity: write `#[insert({INTO})]` above the struct");
        errors.at(&input.ident, advice);
    }
    entity
}

fn read_column(field: &Field, errors: &mut Errors) -> Column {
    let mut column = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "column" => options::set(&mut column, option, options::name(option, COLUMN, name::column_fault, value)?),
        "into" => Err(options::misplaced(option, ON_STRUCT)),
        _ => Err(options::unknown(option, &format!("`{COLUMN}`"))),
    };
    options::read_attributes(&field.attrs, "insert", COLUMN, errors, read);
    Column::new(field, column)
}

const INTO: &str = "into = User";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(tokens(text))
    }

    #[test]
    fn fields_are_written_in_order() {
        assert_expands(
            expanded(
                "#[insert(into = models::User)]
                struct NewUser<'a> { name: &'a str, #[insert(column = \"Age\")] r#type: i32 }",
            ),
            &quote! {
                #[automatically_derived]
                impl<'a> ::homing::Insert for NewUser<'a> {
                    type Entity = models::User;
                    const COLUMNS: &'static [&'static ::core::primitive::str] = &["name", "Age"];

                    fn values(&self) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                        ::std::vec![
                            &self.name as &(dyn ::homing::types::ToSql + ::core::marker::Sync),
                            &self.r#type as &(dyn ::homing::types::ToSql + ::core::marker::Sync)
                        ]
                    }
                }
            },
        );
    }

    #[test]
    fn generic_fields_bring_their_bounds() {
        let item = syn::parse_quote! {
            #[insert(into = Event<T, u8>)]
            struct New<T: Copy, const N: usize> where T: Clone { a: T, b: i64, r#type: Json<Vec<T>>, d: [u8; N] }
        };
        let insert = Insert::read(&item, &mut Errors::default()).unwrap();
        let (parameters, arguments, conditions) = insert.generics.split_for_impl();
        assert_expands(
            quote! { impl #parameters New #arguments #conditions },
            &quote! {
                impl<T: Copy, const N: usize> New<T, N>
                where
                    T: Clone,
                    T: ::homing::types::ToSql + ::core::marker::Sync,
                    Json<Vec<T> >: ::homing::types::ToSql + ::core::marker::Sync
            },
        );
    }

    #[test]
    fn empty_struct_is_row_of_defaults() {
        for item in ["struct New;", "struct New {}"] {
            let expansion = expanded(&format!("#[insert(into = User)] {item}")).to_string();
            assert!(expansion.contains("= & [] ;"), "{expansion}");
            assert!(!expansion.contains("compile_error"), "{expansion}");
        }
    }

    #[test]
    fn all_errors_are_reported_in_place() {
        assert_reported(
            expanded("struct New { name: String }"),
            &[("New", "missing entity: write `#[insert(into = User)]` above the struct")],
        );
        assert_reported(
            expanded(
                "#[insert(into = \"users\", table = \"users\", column = 1)] struct New {
                    #[insert(into = User)] name: String,
                    #[insert(column)] age: i32,
                    #[insert(column = \"name\")] nick: String,
                    #[insert(key)] a: i32,
                    #[insert(column = \"\")] b: i32,
                }",
            ),
            &[
                ("\"users\"", "the value of `into` must be a type: write `into = User`"),
                ("table", "unknown option `table`; valid here: `into = User`"),
                ("column", "`column` belongs on a field, not on the struct"),
                ("into", "`into` belongs on the struct, not on a field"),
                ("column", "`column` needs a value: write `column = \"name\"`"),
                ("key", "unknown option `key`; valid here: `column = \"name\"`"),
                ("\"\"", "the name of a column cannot be empty"),
                ("\"name\"", "the field `name` has the column `name` already"),
            ],
        );
        let twice = "`into` is given twice";
        assert_reported(expanded("#[insert(into = A, into = B)] struct New;"), &[("into", twice)]);
    }

    #[test]
    fn other_items_are_refused() {
        let shape = |item: &str| expanded(&format!("#[insert(into = User)] {item}"));
        let takes = "`Insert` takes a struct with named fields, one for each column";
        assert_reported(shape("struct T(i64, i32);"), &[("(i64, i32)", &format!("{takes}: name these fields"))]);
        assert_reported(shape("enum T { A }"), &[("enum", &format!("{takes}: this is an enum"))]);
        assert_reported(shape("union T { id: i64 }"), &[("union", &format!("{takes}: this is a union"))]);
    }
}
