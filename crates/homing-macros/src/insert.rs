//! `#[derive(Insert)]`.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::parse::ParseStream;
use syn::{DeriveInput, Field, Generics, Ident, Type, parse_quote};

use crate::columns::{self, Column};
use crate::errors::Errors;
use crate::options::{self, ON_FIELD, ON_STRUCT};
use crate::{name, types};

/// The implementation of `homing::Insert` for the struct in `item`, or what is wrong with it.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let input = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let implementation = Insert::read(&input, &mut errors).map(|insert| insert.implementation());
    quote! { #errors #implementation }
}

/// A struct that is the columns to write.
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
        let generics = with_bounds(input.generics.clone(), &columns);
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
        let advice = format!("a row of which entity? Write `#[insert({INTO})]` above the struct");
        errors.at(&input.ident, advice);
    }
    entity
}

fn read_column(field: &Field, errors: &mut Errors) -> Column {
    let mut column = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "column" => {
            let text = options::text(option, COLUMN, value)?;
            options::set(&mut column, option, options::checked(text, name::column_fault)?)
        }
        "into" => Err(options::misplaced(option, ON_STRUCT)),
        _ => Err(options::unknown(option, &format!("`{COLUMN}`"))),
    };
    options::read_attributes(&field.attrs, "insert", COLUMN, errors, read);
    Column::new(field, column)
}

/// Asks of each field whose type depends on a type parameter what is asked of a parameter of a statement.
fn with_bounds(mut generics: Generics, columns: &[Column]) -> Generics {
    let parameters: Vec<Ident> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    for Column { ty, .. } in columns {
        let is_parameter = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if parameters.contains(ident));
        if types::find(ty, &is_parameter).is_some() {
            generics
                .make_where_clause()
                .predicates
                .push(parse_quote! { #ty: ::homing::types::ToSql + ::core::marker::Sync });
        }
    }
    generics
}

const INTO: &str = "into = User";
const COLUMN: &str = "column = \"name\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(tokens(text))
    }

    #[test]
    fn fields_are_written_in_order_by_reference() {
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
    fn fields_of_generic_types_bring_their_bounds() {
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
    fn a_struct_without_fields_is_a_row_of_defaults() {
        for item in ["struct New;", "struct New {}"] {
            let expansion = expanded(&format!("#[insert(into = User)] {item}")).to_string();
            assert!(expansion.contains("= & [] ;"), "{expansion}");
            assert!(!expansion.contains("compile_error"), "{expansion}");
        }
    }

    #[test]
    fn all_errors_of_an_item_are_reported_where_they_are() {
        assert_reported(
            expanded("struct New { name: String }"),
            &[("New", "a row of which entity? Write `#[insert(into = User)]` above the struct")],
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
                ("\"users\"", "the value of `into` is a type: write `into = User`"),
                ("table", "unknown option `table`; known here: `into = User`"),
                ("column", "`column` belongs on a field, not on the struct"),
                ("into", "`into` belongs on the struct, not on a field"),
                ("column", "`column` needs a value: write `column = \"name\"`"),
                ("key", "unknown option `key`; known here: `column = \"name\"`"),
                ("\"\"", "the name of a column cannot be empty"),
                ("\"name\"", "the field `name` is the column `name` already"),
            ],
        );
        let twice = "`into` is given twice";
        assert_reported(expanded("#[insert(into = A, into = B)] struct New;"), &[("into", twice)]);
    }

    #[test]
    fn other_items_than_structs_with_named_fields_are_refused() {
        let shape = |item: &str| expanded(&format!("#[insert(into = User)] {item}"));
        let takes = "`Insert` is for structs with named fields, each of them a column";
        assert_reported(shape("struct T(i64, i32);"), &[("(i64, i32)", &format!("{takes}: name these"))]);
        assert_reported(shape("enum T { A }"), &[("enum", &format!("{takes}: this is an enum"))]);
        assert_reported(shape("union T { id: i64 }"), &[("union", &format!("{takes}: this is a union"))]);
    }
}
