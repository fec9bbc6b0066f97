//! `#[derive(FromRow)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{DeriveInput, Field, GenericParam, Ident, Type};

use crate::columns::{self, COLUMN, Column};
use crate::errors::Errors;
use crate::options::{self, ON_FIELD};
use crate::{expand, name, types};

/// Returns the implementation of `homing::FromRow` for the struct in `item`, and its errors.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    expand::expand(item, |input: DeriveInput, errors| Some(implementation(&input.ident, &read(&input, errors)?)))
        .unwrap_or_else(syn::Error::into_compile_error)
}

/// Returns the code that reads the fields of a struct from a row, by the names of their columns.
pub(crate) fn implementation(ident: &Ident, columns: &[Column]) -> TokenStream {
    let name = ident.unraw().to_string();
    let names = columns.iter().map(|column| &column.name);
    let fields = columns.iter().enumerate().map(|(index, column)| {
        let Column { field, ty, .. } = column;
        let get = quote_spanned! {types::place(ty)=>
            ::homing::__private::Fields::get::<#ty>(&__fields, #index)
        };
        quote! { #field: #get? }
    });
    quote! {
        #[automatically_derived]
        impl ::homing::FromRow for #ident {
            fn from_row(__row: &::homing::Row) -> ::homing::__private::RowResult<Self> {
                let __fields = ::homing::__private::Fields::of(__row, #name, &[#(#names),*])?;
                ::core::result::Result::Ok(Self { #(#fields),* })
            }
        }
    }
}

/// Returns the columns, or `None` if the struct cannot have the trait.
fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Vec<Column>> {
    refuse_options_on_struct(input, errors);
    let fields = columns::fields(input, "FromRow", errors)?;
    refuse_generics(input, errors);
    let columns: Vec<Column> = fields.into_iter().map(|field| read_column(field, errors)).collect();
    columns::refuse_duplicates(&columns, errors);
    if columns.is_empty() {
        errors.at(&input.ident, "a row is read into fields, one for each column, but the struct has none");
    }
    if let Some(entity) = input.attrs.iter().find(|attribute| attribute.path().is_ident("entity")) {
        errors.at(entity, "an entity has `FromRow` already: remove it from the derives");
        return None;
    }
    let owned = input.generics.params.is_empty() && !columns.iter().any(Column::is_reference);
    owned.then_some(columns)
}

fn refuse_options_on_struct(input: &DeriveInput, errors: &mut Errors) {
    let read = |option: &Ident, _: ParseStream<'_>| match option.to_string().as_str() {
        "column" => Err(options::misplaced(option, ON_FIELD)),
        _ => Err(syn::Error::new(option.span(), format!("unknown option `{option}`; there is none for the struct"))),
    };
    options::read_attributes(&input.attrs, "from_row", COLUMN, errors, read);
}

fn refuse_generics(input: &DeriveInput, errors: &mut Errors) {
    for parameter in &input.generics.params {
        let advice = match parameter {
            GenericParam::Lifetime(_) => OWNED_FIELDS,
            GenericParam::Type(_) | GenericParam::Const(_) => {
                "the columns of a row have fixed types: write a struct for each, without generics"
            }
        };
        errors.at(parameter, advice);
    }
}

fn read_column(field: &Field, errors: &mut Errors) -> Column {
    let mut column = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "column" => options::set(&mut column, option, options::name(option, COLUMN, name::column_fault, value)?),
        _ => Err(options::unknown(option, &format!("`{COLUMN}`"))),
    };
    options::read_attributes(&field.attrs, "from_row", COLUMN, errors, read);
    if let Type::Reference(reference) = types::bare(&field.ty) {
        errors.at(reference, OWNED_FIELDS);
    }
    Column::new(field, column)
}

const OWNED_FIELDS: &str = "the fields own their values, which outlive the row: write `String` in place of `&str`, `Vec<u8>` in place of `&[u8]`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(tokens(text))
    }

    #[test]
    fn fields_are_read_by_name() {
        assert_expands(
            expanded("struct Total { name: String, #[from_row(column = \"n\")] r#type: Option<i64> }"),
            &quote! {
                #[automatically_derived]
                impl ::homing::FromRow for Total {
                    fn from_row(__row: &::homing::Row) -> ::homing::__private::RowResult<Self> {
                        let __fields = ::homing::__private::Fields::of(__row, "Total", &["name", "n"])?;
                        ::core::result::Result::Ok(Self {
                            name: ::homing::__private::Fields::get::<String>(&__fields, 0usize)?,
                            r#type: ::homing::__private::Fields::get::<Option<i64> >(&__fields, 1usize)?
                        })
                    }
                }
            },
        );
    }

    #[test]
    fn all_errors_are_reported_in_place() {
        assert_reported(
            expanded(
                "#[from_row(column = \"a\", table = \"t\")] struct Total {
                    #[from_row(column)] name: String,
                    #[from_row(key)] age: i32,
                    #[from_row] city: i32,
                    #[from_row(column = \"name\")] nick: &'static str,
                }",
            ),
            &[
                ("column", "`column` belongs on a field, not on the struct"),
                ("table", "unknown option `table`; there is none for the struct"),
                ("column", "`column` needs a value: write `column = \"name\"`"),
                ("key", "unknown option `key`; valid here: `column = \"name\"`"),
                ("from_row", "`from_row` takes its options in parentheses: write `#[from_row(column = \"name\")]`"),
                ("&'static str", OWNED_FIELDS),
                ("\"name\"", "the field `name` has the column `name` already"),
            ],
        );
    }

    #[test]
    fn other_items_are_refused() {
        let takes = "`FromRow` takes a struct with named fields, one for each column";
        assert_reported(expanded("struct T(i64, i32);"), &[("(i64, i32)", &format!("{takes}: name these fields"))]);
        assert_reported(expanded("enum T { A }"), &[("enum", &format!("{takes}: this is an enum"))]);
        let empty = "a row is read into fields, one for each column, but the struct has none";
        assert_reported(expanded("struct T;"), &[("T", empty)]);
        let generic = "the columns of a row have fixed types: write a struct for each, without generics";
        assert_reported(
            expanded("struct T<'a, U, const N: usize> { a: U }"),
            &[("'a", OWNED_FIELDS), ("U", generic), ("const N: usize", generic)],
        );
        let entity = "an entity has `FromRow` already: remove it from the derives";
        assert_reported(
            expanded("#[entity(table = \"t\")] struct T { id: i64 }"),
            &[("#[entity(table = \"t\")]", entity)],
        );
    }
}
