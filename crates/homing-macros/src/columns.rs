//! The fields of a struct, as columns.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Field, Fields, Generics, Ident, LitStr, Type, parse_quote};

use crate::errors::Errors;
use crate::types;

/// A column: a field and its name in the database.
pub(crate) struct Column {
    pub(crate) field: Ident,
    pub(crate) ty: Type,
    pub(crate) name: LitStr,
}

impl Column {
    /// Creates the column of a named field. `name` is the name from the option, if there is one.
    pub(crate) fn new(field: &Field, name: Option<LitStr>) -> Self {
        let ident = field.ident.clone().expect("fields() lets only named fields through");
        let name = name.unwrap_or_else(|| LitStr::new(&ident.unraw().to_string(), ident.span()));
        Self { field: ident, ty: field.ty.clone(), name }
    }

    pub(crate) fn is_reference(&self) -> bool {
        matches!(types::bare(&self.ty), Type::Reference(_))
    }

    /// Returns the field of `self` as a parameter of a statement. Errors about its type underline the type.
    pub(crate) fn parameter(&self) -> TokenStream {
        as_parameter(&self.reference(), types::place(&self.ty))
    }

    /// Returns a reference to the field of `self`, at its type.
    pub(crate) fn reference(&self) -> TokenStream {
        let place = types::place(&self.ty);
        let mut field = self.field.clone();
        field.set_span(place);
        quote_spanned! {place=> &self.#field }
    }
}

/// Returns `reference` as a parameter of a statement, at `place`.
pub(crate) fn as_parameter(reference: &TokenStream, place: Span) -> TokenStream {
    quote_spanned! {place=> #reference as &(dyn ::homing::types::ToSql + ::core::marker::Sync) }
}

/// Returns the fields of a struct with named fields, or without fields. Reports any other item, with the name `derive`.
pub(crate) fn fields<'a>(input: &'a DeriveInput, derive: &str, errors: &mut Errors) -> Option<Vec<&'a Field>> {
    let takes = format!("`{derive}` takes a struct with named fields, one for each column");
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Some(fields.named.iter().collect()),
            Fields::Unit => return Some(Vec::new()),
            Fields::Unnamed(fields) => errors.at(fields, format!("{takes}: name these fields")),
        },
        Data::Enum(data) => errors.at(data.enum_token, format!("{takes}: this is an enum")),
        Data::Union(data) => errors.at(data.union_token, format!("{takes}: this is a union")),
    }
    None
}

/// Reports each column that has the name of an earlier one.
pub(crate) fn refuse_duplicates(columns: &[Column], errors: &mut Errors) {
    let mut taken = HashMap::new();
    for column in columns {
        let name = column.name.value();
        if let Some(earlier) = taken.get(&name) {
            errors.at(&column.name, format!("the field `{earlier}` has the column `{name}` already"));
        } else {
            taken.insert(name, &column.field);
        }
    }
}

/// Adds the bounds of a statement's parameter to the types that depend on a type parameter.
pub(crate) fn with_bounds<'a>(mut generics: Generics, types: impl Iterator<Item = &'a Type>) -> Generics {
    let parameters: Vec<Ident> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    for ty in types {
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

/// An example of the option that names a column, for messages.
pub(crate) const COLUMN: &str = "column = \"name\"";
