//! `#[homing::remote]`.

mod expansion;
mod signature;

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, LitStr, Token, Visibility};

use crate::errors::Errors;
use crate::remote::signature::Parts;
use crate::{name, options};

/// The function in `item` and the type that stands for it, and what is wrong with it.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = error.into_compile_error();
            return quote! { #error #item };
        }
    };
    let mut errors = Errors::default();
    let options = Options::read(options, &function.signature.ident, &mut errors);
    signature::correct_qualifiers(&mut function.signature, &mut errors);
    let parts = Parts::read(&function.signature, &mut errors);
    let expansion = match parts {
        Some(parts) => expansion::expansion(&function, &options, &parts),
        // Most likely inside an `impl`, where there is no place for a type.
        None if function.signature.receiver().is_some() => item,
        None => expansion::stand_in(&function, &options.name),
    };
    quote! { #errors #expansion }
}

/// A function as it is written. The body is not looked into.
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: syn::Signature,
    body: TokenStream,
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
            return Err(input.error("a remote function has a body: write `{ … }`"));
        }
        Ok(Self { attributes, visibility, signature, body: input.parse()? })
    }
}

/// Whether there is a word that a function can begin with; what else it begins is no concern.
fn starts_function(input: ParseStream<'_>) -> bool {
    let qualified = input.peek(Token![async]) || input.peek(Token![unsafe]);
    let other = input.peek(Token![const]) || input.peek(Token![extern]);
    qualified || other || input.peek(Token![fn])
}

/// What is said of a function.
struct Options {
    /// The name on the wire.
    name: LitStr,
    idempotent: bool,
    transactional: bool,
}

impl Options {
    fn read(tokens: TokenStream, function: &Ident, errors: &mut Errors) -> Self {
        let (mut name, mut idempotent, mut transactional) = (None, None, None);
        options::read_list(tokens, errors, |option, value| match option.to_string().as_str() {
            "name" => {
                let text = options::text(option, NAME, value)?;
                options::set(&mut name, option, options::checked(text, name::function_fault)?)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(TokenStream::new(), tokens(text))
    }

    #[test]
    fn a_function_becomes_a_type_that_calls_it() {
        assert_expands(
            expanded(
                "/// Imports.
                #[cfg(unix)]
                #[tracing::instrument]
                #[deprecated]
                pub(crate) async fn import(ctx: Context, mut names: Vec<String>, n: i64) -> homing::Result<u64> { body }",
            ),
            &quote! {
                #[doc = " Imports."]
                #[cfg(unix)]
                #[allow(non_camel_case_types)]
                #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
                pub(crate) struct import;

                #[cfg(unix)]
                const _: () = {
                    impl ::homing::Remote for import {
                        const NAME: &'static ::core::primitive::str = "import";
                        type Arguments = (Vec<String>, i64,);
                        type Output = u64;

                        fn run(
                            __context: ::homing::Context,
                            (__argument_0, __argument_1,): Self::Arguments,
                        ) -> impl ::core::future::Future<Output = ::homing::Result<Self::Output>>
                            + ::core::marker::Send
                        {
                            import(
                                <Context as ::homing::__private::FromContext>::from_context(__context),
                                __argument_0,
                                __argument_1
                            )
                        }
                    }

                    impl import {
                        #[doc = r" Runs the function in the primary region: in place if that is here."]
                        #[deprecated]
                        #[allow(clippy::too_many_arguments)]
                        pub(crate) async fn call(
                            repo: &::homing::Repo,
                            names: Vec<String>,
                            n: i64
                        ) -> ::homing::Result<<Self as ::homing::Remote>::Output> {
                            ::homing::__private::call::<Self>(repo, (names, n,)).await
                        }
                    }

                    #[tracing::instrument]
                    async fn import(ctx: Context, mut names: Vec<String>, n: i64) -> homing::Result<u64> { body }
                };
            },
        );
    }

    #[test]
    fn no_arguments_are_the_empty_tuple() {
        let expansion = expanded("async fn ping(_: Context) -> Result<(), homing::Error> { Ok(()) }").to_string();
        assert!(expansion.contains("type Arguments = () ;"), "{expansion}");
        assert!(expansion.contains("type Output = () ;"), "{expansion}");
    }

    #[test]
    fn the_name_on_the_wire_is_the_functions_own_or_the_one_given() {
        let name = |options: &str, function: &str| {
            let item = format!("async fn {function}(_: Context) -> Result<()> {{}}");
            let expansion = expand(tokens(options), tokens(&item)).to_string();
            let (_, rest) = expansion.split_once("str = \"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        assert_eq!(name("", "import"), "import");
        assert_eq!(name("", "r#move"), "move");
        assert_eq!(name("name = \"billing.import\"", "import"), "billing.import");
    }

    #[test]
    fn markers_become_constants() {
        let function = "async fn f(_: Context) -> Result<()> {}";
        let plain = expand(TokenStream::new(), tokens(function)).to_string();
        assert!(!plain.contains("IDEMPOTENT") && !plain.contains("TRANSACTIONAL"), "{plain}");
        let both = expand(tokens("idempotent, transactional"), tokens(function)).to_string();
        for marker in ["IDEMPOTENT", "TRANSACTIONAL"] {
            assert!(both.contains(&format!("const {marker} : :: core :: primitive :: bool = true ;")), "{both}");
        }
    }

    #[test]
    fn options_that_cannot_be_read_are_reported_and_the_function_stands() {
        let reported = |options: &str, expected: &[(&str, &str)]| {
            let expansion = expand(tokens(options), tokens("async fn f(_: Context) -> Result<()> {}"));
            assert!(expansion.to_string().contains("async fn call"), "{expansion}");
            assert_reported(expansion, expected);
        };
        reported(
            "timeout = 5, name",
            &[
                (
                    "timeout",
                    "unknown option `timeout`; known here: `name = \"billing.import\"`, `idempotent` and \
                     `transactional`",
                ),
                ("name", "`name` needs a value: write `name = \"billing.import\"`"),
            ],
        );
        let text = "the value of `name` is a string: write `name = \"billing.import\"`";
        reported("name = f", &[("f", text)]);
        reported("name = 5", &[("5", text)]);
        reported("\"f\"", &[("\"f\"", "expected the name of an option")]);
        reported("name = \"\"", &[("\"\"", "the name of a function cannot be empty")]);
        reported("name = \"a\", name = \"b\"", &[("name", "`name` is given twice")]);
        reported("idempotent, idempotent", &[("idempotent", "`idempotent` is given twice")]);
        let alone = "`transactional` takes no value: write `transactional` alone";
        reported("transactional = true", &[("transactional", alone)]);
    }

    #[test]
    fn wrong_qualifiers_are_reported_and_the_function_stands() {
        let expansion = expanded("const unsafe extern \"C\" fn f(_: Context) -> Result<()> {}");
        assert!(expansion.to_string().contains("async fn f (_ : Context)"), "{expansion}");
        let why = "a remote function is called from afar";
        assert_reported(
            expansion,
            &[
                ("fn", "a remote function is async: write `async fn f`"),
                ("const", &format!("{why}: it cannot be `const`")),
                ("unsafe", &format!("{why}, where nobody can keep a safety contract: it cannot be `unsafe`")),
                ("extern \"C\"", &format!("{why} by its name: take the ABI away")),
            ],
        );
    }

    #[test]
    fn a_context_comes_first_and_by_value() {
        let reported = |parameters: &str, source: &str, message: &str| {
            let item = format!("async fn f({parameters}) -> Result<()> {{}}");
            assert_reported(expanded(&item), &[(source, message)]);
        };
        reported("", "()", "the context is missing: write `ctx: homing::Context`");
        let by_value = "the context comes first, by value: write `ctx: homing::Context`";
        reported("ctx: &Context", "&Context", by_value);
        reported("ids: (i64, i64)", "(i64, i64)", "the context comes first: write `ctx: homing::Context`");
        let method = "a remote function stands outside of any `impl`: take `self` away, and begin with \
                      `ctx: homing::Context`";
        reported("&self, a: i64", "&self", method);
    }

    #[test]
    fn arguments_are_owned_and_plainly_named() {
        let borrowed = "an argument travels, so it cannot be borrowed";
        let opaque = "what travels has one type at both ends: write the type itself for `impl`";
        let cfg = "a parameter cannot depend on `cfg`: the two ends may be built differently";
        let plain = "an argument is a plain name: take it apart inside the function";
        assert_reported(
            expanded(
                "async fn f(
                    ctx: Context, a: &str, b: &[i64], c: &Path, d: &mut Part, e: Map<&'static str, u8>,
                    f: &Option<u8>, (g, h): (u8, u8), _: u8, ref i: u8, #[cfg(unix)] j: impl Into<u8>
                ) -> Result<()> {}",
            ),
            &[
                ("&str", &format!("{borrowed}: write `String`")),
                ("&[i64]", &format!("{borrowed}: write `Vec<i64>`")),
                ("&Path", &format!("{borrowed}: write `PathBuf`")),
                ("&mut Part", &format!("{borrowed}: write `Part`")),
                ("&", &format!("{borrowed}: write an owned type, such as `String` for `&str`")),
                ("&Option<u8>", &format!("{borrowed}: write an owned type")),
                ("(g, h)", plain),
                ("_", "an argument has a name, for its callers: write `_name` if the function does not use it"),
                ("ref i", plain),
                ("#[cfg(unix)]", cfg),
                ("impl", opaque),
            ],
        );
    }

    #[test]
    fn sixteen_arguments_are_not_too_many() {
        let sixteen = ('a'..='p').map(|name| format!("{name}: u8")).collect::<Vec<_>>().join(", ");
        assert_reported(expanded(&format!("async fn f(ctx: Context, {sixteen}) -> Result<()> {{}}")), &[]);
        let most = "a remote function takes 16 arguments at most: put some of them into a struct that serde can read \
                    and write";
        let more = format!("async fn f(ctx: Context, {sixteen}, q: u8) -> Result<()> {{}}");
        assert_reported(expanded(&more), &[("q: u8", most)]);
    }

    #[test]
    fn generics_are_refused() {
        let why = "a remote function has one name and one type: it cannot be generic";
        let generic = "async fn f<'a, T>(_: Context, t: T) -> Result<()> where T: Copy {}";
        assert_reported(expanded(generic), &[("'a, T", why)]);
        let conditional = "async fn f(_: Context) -> Result<()> where u8: Copy {}";
        assert_reported(expanded(conditional), &[("where u8: Copy", why)]);
    }

    #[test]
    fn a_result_is_returned() {
        let returning = |returned: &str| expanded(&format!("async fn f(_: Context) {returned} {{}}"));
        let why = "a remote function returns a `homing::Result`: write";
        assert_reported(returning(""), &[("f", &format!("{why} `-> homing::Result<()>`"))]);
        assert_reported(returning("-> u64"), &[("u64", &format!("{why} `homing::Result<u64>`"))]);
        assert_reported(returning("-> (u8, u8)"), &[("(u8, u8)", &format!("{why} `homing::Result<…>`"))]);
        let opaque = "what travels has one type at both ends: write the type itself for `impl`";
        assert_reported(returning("-> Result<impl Send>"), &[("impl", opaque)]);
    }

    #[test]
    fn a_function_with_errors_is_remote_all_the_same() {
        let expansion = expanded("pub async fn f() {}").to_string();
        assert!(expansion.contains("pub struct f ;"), "{expansion}");
        assert!(expansion.contains("impl :: homing :: Remote for f"), "{expansion}");
        assert!(expansion.contains("async fn f () { }"), "{expansion}");
    }

    #[test]
    fn other_items_are_left_as_they_are() {
        let belongs = "`#[homing::remote]` belongs above an async function";
        let expansion = expanded("pub struct S { field: i64 }");
        assert!(expansion.to_string().ends_with("pub struct S { field : i64 }"), "{expansion}");
        assert_reported(expansion, &[("struct", belongs)]);
        assert_reported(expanded("async fn f();"), &[(";", "a remote function has a body: write `{ … }`")]);
        let method = expanded("async fn f(&self) -> Result<()> {}").to_string();
        assert!(method.ends_with("async fn f (& self) -> Result < () > { }"), "{method}");
    }

    #[test]
    fn the_body_is_not_looked_into() {
        let expansion = expanded("async fn f(_: Context) -> Result<()> { unfinished. }");
        assert_reported(expansion, &[]);
    }
}
