//! A remote function as it is written, and the options of its attribute.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, LitStr, Signature, Token, Visibility};

use crate::errors::Errors;
use crate::{name, options};

/// A function as it is written. Its body is not parsed.
pub(super) struct Function {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) signature: Signature,
    pub(super) body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !starts_function(input) {
            return Err(input.error("`#[homing::remote]` belongs above an async function"));
        }
        let signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error("a remote function needs a body: write `{ … }`"));
        }
        Ok(Self { attributes, visibility, signature, body: input.parse()? })
    }
}

/// Returns whether the next word can begin a function. It may begin other items too.
fn starts_function(input: ParseStream<'_>) -> bool {
    let qualified = input.peek(Token![async]) || input.peek(Token![unsafe]);
    let other = input.peek(Token![const]) || input.peek(Token![extern]);
    qualified || other || input.peek(Token![fn])
}

/// The options of the attribute.
pub(super) struct Options {
    /// The name on the wire.
    pub(super) name: LitStr,
    pub(super) idempotent: bool,
    pub(super) transactional: bool,
}

impl Options {
    pub(super) fn read(tokens: TokenStream, function: &Ident, errors: &mut Errors) -> Self {
        let (mut name, mut idempotent, mut transactional) = (None, None, None);
        options::read_list(tokens, errors, |option, value| match option.to_string().as_str() {
            "name" => options::set(&mut name, option, options::name(option, NAME, name::function_fault, value)?),
            "idempotent" => options::set(&mut idempotent, option, options::flag(option, value)?),
            "transactional" => options::set(&mut transactional, option, options::flag(option, value)?),
            _ => Err(options::unknown(option, &format!("`{NAME}`, `idempotent` and `transactional`"))),
        });
        Self {
            name: name.unwrap_or_else(|| LitStr::new(&function.unraw().to_string(), function.span())),
            idempotent: idempotent.is_some(),
            transactional: transactional.is_some(),
        }
    }
}

const NAME: &str = "name = \"billing.import\"";
