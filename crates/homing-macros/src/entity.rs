//! `#[derive(Entity)]`.

mod field;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::ParseStream;
use syn::{DeriveInput, Field, GenericParam, Ident, Index, LitStr, Type};

use self::field::FieldOptions;
use crate::columns::{self, Column};
use crate::errors::Errors;
use crate::options::{self, ON_FIELD};
use crate::{expand, from_row, name, types};

/// Returns the implementation of `homing::Entity` for the struct in `item`, and its errors.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    expand::expand(item, |input, errors| Some(Entity::read(&input, errors)?.implementation()))
        .unwrap_or_else(syn::Error::into_compile_error)
}

/// A struct that is a row of a table.
struct Entity {
    ident: Ident,
    /// Empty if missing, which is an error.
    table: String,
    columns: Vec<Column>,
    /// Indices into `columns`.
    key: Vec<usize>,
    /// Indices into `columns`.
    read_only: Vec<usize>,
    /// An index into `columns`.
    version: Option<usize>,
}

impl Entity {
    fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let table = read_table(input, errors);
        let fields = columns::fields(input, "Entity", errors);
        refuse_generics(input, errors);
        let mut entity = Self {
            ident: input.ident.clone(),
            table,
            columns: Vec::new(),
            key: Vec::new(),
            read_only: Vec::new(),
            version: None,
        };
        entity.read_columns(&fields?, errors);
        if entity.key.is_empty() {
            errors.at(&input.ident, missing_key(&entity.columns));
        }
        let owned = input.generics.params.is_empty() && !entity.columns.iter().any(Column::is_reference);
        owned.then_some(entity)
    }

    fn read_columns(&mut self, fields: &[&Field], errors: &mut Errors) {
        for (index, field) in fields.iter().enumerate() {
            let options = FieldOptions::read(field, errors);
            if options.key.is_some() {
                self.key.push(index);
            }
            if options.read_only.is_some() {
                self.read_only.push(index);
            }
            if let Some(option) = &options.version {
                let set = options::set(&mut self.version, option, index);
                errors.keep(set);
            }
            field::refuse_type(field, &options, errors);
            self.columns.push(Column::new(field, options.column));
        }
        columns::refuse_duplicates(&self.columns, errors);
    }

    fn implementation(&self) -> TokenStream {
        let Self { ident, table, .. } = self;
        let names = self.columns.iter().map(|column| &column.name);
        let key_names = self.key().map(|column| &column.name);
        let key_type = self.key_type();
        let read_only = self.read_only();
        let version = self.version();
        let from_row = from_row::implementation(ident, &self.columns);
        let key_parameters = self.key_parameters();
        let values = self.columns.iter().map(Column::parameter);
        quote! {
            #[automatically_derived]
            impl ::homing::Entity for #ident {
                type Key = #key_type;
                const TABLE: &'static ::core::primitive::str = #table;
                const COLUMNS: &'static [&'static ::core::primitive::str] = &[#(#names),*];
                const KEY: &'static [&'static ::core::primitive::str] = &[#(#key_names),*];
                #read_only
                #version

                #key_parameters

                fn values(&self) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                    ::std::vec![#(#values),*]
                }
            }

            #from_row
        }
    }

    fn key(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|&index| &self.columns[index])
    }

    fn key_type(&self) -> TokenStream {
        let types: Vec<&Type> = self.key().map(|column| &column.ty).collect();
        match types.as_slice() {
            [only] => quote! { #only },
            several => quote! { (#(#several),*) },
        }
    }

    /// Returns nothing for an entity without such columns, because the trait has a default.
    fn read_only(&self) -> TokenStream {
        if self.read_only.is_empty() {
            return TokenStream::new();
        }
        let names = self.read_only.iter().map(|&index| &self.columns[index].name);
        quote! { const READ_ONLY: &'static [&'static ::core::primitive::str] = &[#(#names),*]; }
    }

    /// Returns nothing for an entity without a version, because the trait has a default.
    fn version(&self) -> Option<TokenStream> {
        let Column { ty, name, .. } = &self.columns[self.version?];
        let column = quote_spanned! {types::place(ty)=> ::homing::__private::version_column::<#ty>(#name) };
        Some(quote! { const VERSION: ::core::option::Option<&'static ::core::primitive::str> = #column; })
    }

    fn key_parameters(&self) -> TokenStream {
        let values = self.key().enumerate().map(|(position, column)| {
            let place = types::place(&column.ty);
            let position = Index::from(position);
            let reference = match self.key.len() {
                1 => quote_spanned! {place=> __key },
                _ => quote_spanned! {place=> &__key.#position },
            };
            columns::as_parameter(&reference, place)
        });
        quote! {
            fn key_values(
                __key: &Self::Key,
            ) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                ::std::vec![#(#values),*]
            }
        }
    }
}

fn read_table(input: &DeriveInput, errors: &mut Errors) -> String {
    let mut table = None;
    let read = |option: &Ident, value: ParseStream<'_>| match option.to_string().as_str() {
        "table" => options::set(&mut table, option, options::name(option, TABLE, name::table_fault, value)?),
        "key" | "column" | "read_only" | "version" => Err(options::misplaced(option, ON_FIELD)),
        _ => Err(options::unknown(option, &format!("`{TABLE}`"))),
    };
    if !options::read_attributes(&input.attrs, "entity", TABLE, errors, read) {
        let advice = format!("missing table: write `#[entity({TABLE})]` above the struct");
        errors.at(&input.ident, advice);
    }
    table.map(|table: LitStr| table.value()).unwrap_or_default()
}

fn refuse_generics(input: &DeriveInput, errors: &mut Errors) {
    for parameter in &input.generics.params {
        let advice = match parameter {
            GenericParam::Lifetime(_) => {
                "an entity owns its values: remove the lifetime and write `String` in place of `&str`"
            }
            GenericParam::Type(_) | GenericParam::Const(_) => "an entity is a row of one table: it cannot be generic",
        };
        errors.at(parameter, advice);
    }
}

fn missing_key(columns: &[Column]) -> String {
    if columns.is_empty() {
        return "an entity needs a field for each column, but it has none".to_owned();
    }
    let advice = "missing key: write `#[entity(key)]` above the field of the primary key";
    match columns.iter().find(|column| column.field == "id") {
        Some(_) => format!("{advice}, for example above `id`"),
        None => advice.to_owned(),
    }
}

const TABLE: &str = "table = \"users\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(tokens(text))
    }

    #[test]
    fn one_key_field_is_the_key() {
        let expansion = expanded(
            "#[derive(Entity)] #[entity(table = \"app.users\")]
            pub struct User { #[entity(key)] pub id: i64, #[entity(column = \"Name\")] r#type: Option<String> }",
        );
        assert_expands(
            expansion,
            &quote! {
                #[automatically_derived]
                impl ::homing::Entity for User {
                    type Key = i64;
                    const TABLE: &'static ::core::primitive::str = "app.users";
                    const COLUMNS: &'static [&'static ::core::primitive::str] = &["id", "Name"];
                    const KEY: &'static [&'static ::core::primitive::str] = &["id"];

                    fn key_values(
                        __key: &Self::Key,
                    ) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                        ::std::vec![__key as &(dyn ::homing::types::ToSql + ::core::marker::Sync)]
                    }

                    fn values(&self) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                        ::std::vec![
                            &self.id as &(dyn ::homing::types::ToSql + ::core::marker::Sync),
                            &self.r#type as &(dyn ::homing::types::ToSql + ::core::marker::Sync)
                        ]
                    }
                }

                #[automatically_derived]
                impl ::homing::FromRow for User {
                    fn from_row(__row: &::homing::Row) -> ::homing::__private::RowResult<Self> {
                        let __fields = ::homing::__private::Fields::of(__row, "User", &["id", "Name"])?;
                        ::core::result::Result::Ok(Self {
                            id: ::homing::__private::Fields::get::<i64>(&__fields, 0usize)?,
                            r#type: ::homing::__private::Fields::get::<Option<String> >(&__fields, 1usize)?
                        })
                    }
                }
            },
        );
    }

    #[test]
    fn several_key_fields_are_a_tuple() {
        let item = syn::parse_quote! {
            #[entity(table = "parts")]
            struct Part {
                #[entity(key)]
                shop: i64,
                title: String,
                #[entity(key, column = "no")]
                r#type: String,
            }
        };
        let entity = Entity::read(&item, &mut Errors::default()).unwrap();
        assert_expands(entity.key_type(), &quote! { (i64, String) });
        assert_expands(
            entity.key_parameters(),
            &quote! {
                fn key_values(
                    __key: &Self::Key,
                ) -> ::std::vec::Vec<&(dyn ::homing::types::ToSql + ::core::marker::Sync)> {
                    ::std::vec![
                        &__key.0 as &(dyn ::homing::types::ToSql + ::core::marker::Sync),
                        &__key.1 as &(dyn ::homing::types::ToSql + ::core::marker::Sync)
                    ]
                }
            },
        );
        let names: Vec<String> = entity.key().map(|column| column.name.value()).collect();
        assert_eq!(names, ["shop", "no"]);
    }

    #[test]
    fn computed_columns_are_listed() {
        let item = syn::parse_quote! {
            #[entity(table = "orders")]
            struct Order {
                #[entity(key)]
                id: i64,
                #[entity(read_only)]
                total: i64,
                #[entity(column = "changed_at", read_only)]
                changed: String,
            }
        };
        let entity = Entity::read(&item, &mut Errors::default()).unwrap();
        assert_expands(
            entity.read_only(),
            &quote! { const READ_ONLY: &'static [&'static ::core::primitive::str] = &["total", "changed_at"]; },
        );
    }

    #[test]
    fn version_has_a_column() {
        let item = syn::parse_quote! {
            #[entity(table = "docs")]
            struct Doc { #[entity(key)] id: i64, #[entity(version, column = "v")] changes: i32 }
        };
        let entity = Entity::read(&item, &mut Errors::default()).unwrap();
        assert_expands(
            entity.version().unwrap(),
            &quote! {
                const VERSION: ::core::option::Option<&'static ::core::primitive::str> =
                    ::homing::__private::version_column::<i32>("v");
            },
        );
        assert_reported(
            expanded(
                "#[entity(table = \"t\", version)] struct T {
                    #[entity(key, version)] id: i64,
                    #[entity(read_only, version = 1)] a: i64,
                    #[entity(read_only, version)] b: i64,
                }",
            ),
            &[
                ("version", "`version` belongs on a field, not on the struct"),
                ("version", "the key never changes, and a version changes with each update: remove `version`"),
                ("version", "`version` takes no value: write `version` alone"),
                ("version", "`version` is given twice"),
                ("version", "each update writes the version: remove `read_only` or `version`"),
                ("version", "`version` is given twice"),
                ("version", "each update writes the version: remove `read_only` or `version`"),
            ],
        );
    }

    #[test]
    fn read_only_column_cannot_be_key() {
        assert_reported(
            expanded(
                "#[entity(table = \"t\", read_only)] struct T {
                    #[entity(key, read_only)] id: i64,
                    #[entity(read_only, read_only = true)] a: i64,
                }",
            ),
            &[
                ("read_only", "`read_only` belongs on a field, not on the struct"),
                ("read_only", "an update never writes the key: remove `read_only`"),
                ("read_only", "`read_only` is given twice"),
            ],
        );
    }

    #[test]
    fn raw_identifier_is_plain_column() {
        let item = syn::parse_quote! { #[entity(table = "t")] struct T { #[entity(key)] r#type: i64 } };
        let entity = Entity::read(&item, &mut Errors::default()).unwrap();
        assert_eq!(entity.columns[0].name.value(), "type");
        assert_expands(entity.key_type(), &quote! { i64 });
    }

    #[test]
    fn struct_with_errors_is_still_entity() {
        let expansion = expanded("struct User { id: i64 }").to_string();
        assert!(expansion.contains("impl :: homing :: Entity for User"), "{expansion}");
        assert!(expansion.contains("type Key = ()"), "{expansion}");
    }

    #[test]
    fn all_errors_are_reported_in_place() {
        assert_reported(
            expanded("struct OrderItem { id: i64 }"),
            &[
                ("OrderItem", "missing table: write `#[entity(table = \"users\")]` above the struct"),
                (
                    "OrderItem",
                    "missing key: write `#[entity(key)]` above the field of the primary key, for example above `id`",
                ),
            ],
        );
        assert_reported(
            expanded(
                "#[entity(table = users, name = 1, key)] struct User {
                    #[entity(key = \"id\")] id: i64,
                    #[entity(key, key, column = 5)] name: Option<String>,
                    #[entity(rename = \"a\", table = \"b\")] age: &'static i32,
                    #[entity] city: i32,
                    #[entity(column = \"city\" \"x\")] a: i32,
                    #[entity(column = \"city\")] b: i32,
                    #[entity(column = \"\\\"c\\\"\")] c: i32,
                }",
            ),
            &[
                ("users", "the value of `table` must be a string: write `table = \"users\"`"),
                ("name", "unknown option `name`; valid here: `table = \"users\"`"),
                ("key", "`key` belongs on a field, not on the struct"),
                ("key", "`key` takes no value: write `key` alone"),
                ("key", "`key` is given twice"),
                ("5", "the value of `column` must be a string: write `column = \"name\"`"),
                ("Option<String>", "a key column is never NULL: remove the `Option`"),
                ("rename", "unknown option `rename`; valid here: `key`, `read_only`, `version`, `column = \"name\"`"),
                ("table", "`table` belongs on the struct, not on a field"),
                (
                    "&'static i32",
                    "an entity owns its values: write `String` in place of `&str`, `Vec<u8>` in place of `&[u8]`",
                ),
                ("entity", "`entity` takes its options in parentheses: write `#[entity(key)]`"),
                ("\"x\"", "expected a comma before the next option"),
                ("\"\\\"c\\\"\"", "write the name without quotes: Homing quotes it"),
                ("\"city\"", "the field `city` has the column `city` already"),
                ("\"city\"", "the field `city` has the column `city` already"),
            ],
        );
    }

    #[test]
    fn unreadable_options_say_what_to_write() {
        let table = |attribute: &str| expanded(&format!("{attribute} struct User {{ #[entity(key)] id: i64 }}"));
        let parentheses = "`entity` takes its options in parentheses: write `#[entity(table = \"users\")]`";
        assert_reported(table("#[entity]"), &[("entity", parentheses)]);
        assert_reported(table("#[entity()]"), &[("entity()", parentheses)]);
        assert_reported(table("#[entity = \"users\"]"), &[("entity = \"users\"", parentheses)]);
        let value = "`table` needs a value: write `table = \"users\"`";
        assert_reported(table("#[entity(table)]"), &[("table", value)]);
        assert_reported(table("#[entity(table =)]"), &[("table", value)]);
        assert_reported(table("#[entity(table(\"users\"))]"), &[("table", value)]);
        assert_reported(table("#[entity(\"users\")]"), &[("\"users\"", "expected the name of an option")]);
        let dots = "`a.b.c` has more than one dot: write `table` or `schema.table`";
        assert_reported(table("#[entity(table = \"a.b.c\")]"), &[("\"a.b.c\"", dots)]);
        let twice = "`table` is given twice";
        assert_reported(table("#[entity(table = \"a\", table = \"b\",)]"), &[("table", twice)]);
        assert_reported(table("#[entity(table = \"a\")] #[entity(table = \"b\")]"), &[("table", twice)]);
    }

    #[test]
    fn other_items_are_refused() {
        let shape = |item: &str| expanded(&format!("#[entity(table = \"t\")] {item}"));
        let takes = "`Entity` takes a struct with named fields, one for each column";
        assert_reported(shape("struct T(i64, i32);"), &[("(i64, i32)", &format!("{takes}: name these fields"))]);
        assert_reported(shape("enum T { A { id: i64 } }"), &[("enum", &format!("{takes}: this is an enum"))]);
        assert_reported(shape("union T { id: i64 }"), &[("union", &format!("{takes}: this is a union"))]);
        let none = "an entity needs a field for each column, but it has none";
        assert_reported(shape("struct T;"), &[("T", none)]);
        assert_reported(shape("struct T {}"), &[("T", none)]);
    }

    #[test]
    fn generic_structs_are_refused() {
        let lifetime = "an entity owns its values: remove the lifetime and write `String` in place of `&str`";
        let generic = "an entity is a row of one table: it cannot be generic";
        assert_reported(
            expanded("#[entity(table = \"t\")] struct T<'a, U: Copy, const N: usize> { #[entity(key)] id: i64 }"),
            &[("'a", lifetime), ("U: Copy", generic), ("const N: usize", generic)],
        );
    }
}
