//! Looking at types, and at where they stand.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;
use syn::spanned::Spanned;

/// `ty` without the invisible group around it where it came through a `macro_rules` macro.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// Where `tokens` stand, for generated code that is at fault when they are.
///
/// Names in that code are still those of the macro's call site: in a `macro_rules` macro they would otherwise be
/// looked up wherever `tokens` were written, where there is no `self`.
pub(crate) fn place(tokens: &impl ToTokens) -> Span {
    tokens.span().resolved_at(Span::call_site())
}

/// The span of the first token, at any depth, that `wanted` is true for.
pub(crate) fn find(tokens: impl ToTokens, wanted: &impl Fn(&TokenTree) -> bool) -> Option<Span> {
    find_in(tokens.into_token_stream(), wanted)
}

fn find_in(tokens: TokenStream, wanted: &impl Fn(&TokenTree) -> bool) -> Option<Span> {
    tokens.into_iter().find_map(|token| match &token {
        TokenTree::Group(group) => find_in(group.stream(), wanted),
        other => wanted(other).then(|| other.span()),
    })
}
