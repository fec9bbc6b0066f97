//! The common part of all macros.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parse;

use crate::errors::Errors;

/// Parses an item and returns its expansion, behind the errors that `expansion` reports.
pub(crate) fn expand<T: Parse>(
    item: TokenStream,
    expansion: impl FnOnce(T, &mut Errors) -> Option<TokenStream>,
) -> syn::Result<TokenStream> {
    let item = syn::parse2(item)?;
    let mut errors = Errors::default();
    let expansion = expansion(item, &mut errors);
    Ok(quote! { #errors #expansion })
}
