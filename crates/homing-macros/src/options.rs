//! The options of an attribute: `name` and `name = value`, separated by commas.

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, Lit, LitStr, Meta, Token, Type};

use crate::errors::Errors;

/// Reads the options of all attributes `attribute`, and returns whether there is such an attribute.
///
/// Calls `read` for each option, with the option's name and the tokens after it. `example` is an option, for the message
/// about an attribute without options.
pub(crate) fn read_attributes(
    attributes: &[Attribute],
    attribute: &str,
    example: &str,
    errors: &mut Errors,
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) -> bool {
    let mut present = false;
    for found in attributes.iter().filter(|found| found.path().is_ident(attribute)) {
        present = true;
        match &found.meta {
            Meta::List(list) if !list.tokens.is_empty() => {
                read_list(list.tokens.clone(), errors, &mut read);
            }
            other => {
                let advice = format!("write `#[{attribute}({example})]`");
                errors.at(other, format!("`{attribute}` takes its options in parentheses: {advice}"));
            }
        }
    }
    present
}

/// Calls `read` for each option in `tokens`. Goes on with the next option after an error.
pub(crate) fn read_list(
    tokens: TokenStream,
    errors: &mut Errors,
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) {
    let list = |input: ParseStream<'_>| {
        while !input.is_empty() {
            let outcome = read_one(input, &mut read);
            if errors.keep(outcome).is_none() {
                skip_to_comma(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    // The closure keeps all errors and reads all tokens.
    let _ = list.parse2(tokens);
}

fn read_one(
    input: ParseStream<'_>,
    read: &mut impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    let name =
        Ident::parse_any(input).map_err(|error| syn::Error::new(error.span(), "expected the name of an option"))?;
    read(&name, input)?;
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(());
    }
    Err(input.error("expected a comma before the next option"))
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Reads an option that takes no value.
pub(crate) fn flag(name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(());
    }
    Err(syn::Error::new(name.span(), format!("`{name}` takes no value: write `{name}` alone")))
}

/// Reads `= "text"`, and reports the text if `fault` finds a reason.
pub(crate) fn name(
    option: &Ident,
    example: &str,
    fault: impl Fn(&str) -> Option<String>,
    input: ParseStream<'_>,
) -> syn::Result<LitStr> {
    equals(option, example, input)?;
    let message = format!("the value of `{option}` must be a string: write `{example}`");
    let ahead = input.fork();
    match input.parse() {
        Ok(Lit::Str(text)) => match fault(&text.value()) {
            Some(fault) => Err(syn::Error::new(text.span(), fault)),
            None => Ok(text),
        },
        Ok(other) => Err(syn::Error::new_spanned(other, message)),
        Err(_) => Err(syn::Error::new(ahead.span(), message)),
    }
}

/// Reads `= Type`.
pub(crate) fn ty(name: &Ident, example: &str, input: ParseStream<'_>) -> syn::Result<Type> {
    equals(name, example, input)?;
    let span = input.span();
    let message = format!("the value of `{name}` must be a type: write `{example}`");
    input.parse().map_err(|_| syn::Error::new(span, message))
}

fn equals(name: &Ident, example: &str, input: ParseStream<'_>) -> syn::Result<()> {
    if input.peek(Token![=]) && !input.peek(Token![==]) {
        input.parse::<Token![=]>()?;
        if !input.is_empty() {
            return Ok(());
        }
    }
    Err(syn::Error::new(name.span(), format!("`{name}` needs a value: write `{example}`")))
}

/// Keeps the value of an option, and reports an option that is given twice.
pub(crate) fn set<T>(slot: &mut Option<T>, name: &Ident, value: T) -> syn::Result<()> {
    if slot.replace(value).is_some() {
        return Err(syn::Error::new(name.span(), format!("`{name}` is given twice")));
    }
    Ok(())
}

/// Returns the error for an unknown option. `valid` completes "valid here: ".
pub(crate) fn unknown(name: &Ident, valid: &str) -> syn::Error {
    syn::Error::new(name.span(), format!("unknown option `{name}`; valid here: {valid}"))
}

/// Returns the error for an option in the wrong place. `place` completes "belongs on".
pub(crate) fn misplaced(name: &Ident, place: &str) -> syn::Error {
    syn::Error::new(name.span(), format!("`{name}` belongs on {place}"))
}

pub(crate) const ON_FIELD: &str = "a field, not on the struct";
pub(crate) const ON_STRUCT: &str = "the struct, not on a field";
