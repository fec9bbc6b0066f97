//! Types, and their places in the source.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{GenericArgument, PathArguments, Type};

/// Returns `ty` without parentheses, and without the invisible group around a type that came through a `macro_rules`
/// macro.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// Returns the `T` of `Option<T>`, or `None` for any other type.
pub(crate) fn within_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = bare(ty) else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| if let GenericArgument::Type(ty) = argument { Some(ty) } else { None })
}

/// Returns the place of `tokens`, for generated code: an error in that code underlines `tokens`.
///
/// Names in that code still belong to the macro's call site. In a `macro_rules` macro they would otherwise belong to the
/// place of `tokens`, which has no `self`.
pub(crate) fn place(tokens: &impl ToTokens) -> Span {
    tokens.span().resolved_at(Span::call_site())
}

/// Returns the span of the first token, at any depth, for which `wanted` is true.
pub(crate) fn find(tokens: impl ToTokens, wanted: &impl Fn(&TokenTree) -> bool) -> Option<Span> {
    find_in(tokens.into_token_stream(), wanted)
}

fn find_in(tokens: TokenStream, wanted: &impl Fn(&TokenTree) -> bool) -> Option<Span> {
    tokens.into_iter().find_map(|token| match &token {
        TokenTree::Group(group) => find_in(group.stream(), wanted),
        other => wanted(other).then(|| other.span()),
    })
}
