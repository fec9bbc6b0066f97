//! Helpers for the tests of expansions.

use proc_macro2::{TokenStream, TokenTree};
use syn::LitStr;

/// Returns the tokens of `text`, with spans into it.
pub(crate) fn tokens(text: &str) -> TokenStream {
    text.parse().unwrap()
}

/// Asserts that `expansion` is `expected`, without regard to blanks.
#[track_caller]
pub(crate) fn assert_expands(expansion: TokenStream, expected: &TokenStream) {
    let (found, expected) = (expansion.to_string(), expected.to_string());
    let packed = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(packed(&found), packed(&expected), "\nfound:\n{found}\nexpected:\n{expected}");
}

/// Asserts that `expansion` reports exactly these errors in this order: the underlined source and the message of each.
#[track_caller]
pub(crate) fn assert_reported(expansion: TokenStream, expected: &[(&str, &str)]) {
    let found = reported(expansion);
    let found: Vec<_> = found.iter().map(|(source, message)| (source.as_str(), message.as_str())).collect();
    assert_eq!(found, expected);
}

/// Returns the calls of `compile_error!` in `expansion`.
fn reported(expansion: TokenStream) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = expansion.into_iter();
    while let Some(token) = rest.next() {
        if token.to_string() != "compile_error" {
            continue;
        }
        // After the `!`.
        let Some(TokenTree::Group(group)) = rest.nth(1) else { panic!("`compile_error!` without its argument") };
        let message: LitStr = syn::parse2(group.stream()).unwrap();
        let underlined = token.span().join(group.span()).and_then(|span| span.source_text());
        found.push((underlined.unwrap_or_default(), message.value()));
    }
    found
}
