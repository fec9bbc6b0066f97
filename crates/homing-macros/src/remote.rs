//! `#[homing::remote]`.

mod expansion;
mod function;
mod signature;

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand;
use crate::remote::function::{Function, Options};
use crate::remote::signature::Parts;

/// Returns the type that stands for the function in `item`, the function itself, and its errors.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let whole = item.clone();
    expand::expand(item, |mut function: Function, errors| {
        let options = Options::read(options, &function.signature.ident, errors);
        signature::correct_qualifiers(&mut function.signature, errors);
        Some(match Parts::read(&function.signature, errors) {
            Some(parts) => expansion::expansion(&function, &options, &parts),
            // Most likely a method: an `impl` cannot have a type in it.
            None if function.signature.receiver().is_some() => whole.clone(),
            None => expansion::stand_in(&function, &options.name),
        })
    })
    .unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote! { #error #whole }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_expands, assert_reported, tokens};

    fn expanded(text: &str) -> TokenStream {
        expand(TokenStream::new(), tokens(text))
    }

    #[test]
    fn function_becomes_a_calling_type() {
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
                pub(crate) struct import {}

                #[cfg(unix)]
                #[doc = "Names the function where it is registered: `register(import)`."]
                #[allow(dead_code)]
                pub(crate) fn import() -> import {
                    import {}
                }

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
                            ::homing::__private::returned(import(
                                <Context as ::homing::__private::FromContext>::from_context(__context),
                                __argument_0,
                                __argument_1
                            ))
                        }
                    }

                    impl import {
                        #[doc = r" Runs the function in the primary region, in place if this node is there."]
                        #[deprecated]
                        #[allow(clippy::too_many_arguments)]
                        pub(crate) async fn call(
                            repo: &::homing::Repo,
                            names: Vec<String>,
                            n: i64
                        ) -> ::homing::Result<<Self as ::homing::Remote>::Output> {
                            ::homing::__private::call::<Self>(repo, (names, n,)).await
                        }

                        #[doc = r" Runs the function in a region, in place if this node is there. A later read through the handle sees what"]
                        #[doc = r" the function wrote."]
                        #[deprecated]
                        #[allow(clippy::too_many_arguments)]
                        pub(crate) async fn call_in(
                            repo: &::homing::Repo,
                            region: &::homing::Region,
                            names: Vec<String>,
                            n: i64
                        ) -> ::homing::Result<<Self as ::homing::Remote>::Output> {
                            ::homing::__private::call_in::<Self>(repo, region, (names, n,)).await
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
    fn wire_name_defaults_to_function_name() {
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
    fn function_stands_despite_unreadable_options() {
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
                    "unknown option `timeout`; valid here: `name = \"billing.import\"`, `idempotent` and \
                     `transactional`",
                ),
                ("name", "`name` needs a value: write `name = \"billing.import\"`"),
            ],
        );
        let text = "the value of `name` must be a string: write `name = \"billing.import\"`";
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
    fn function_stands_despite_wrong_qualifiers() {
        let expansion = expanded("const unsafe extern \"C\" fn f(_: Context) -> Result<()> {}");
        assert!(expansion.to_string().contains("async fn f (_ : Context)"), "{expansion}");
        let why = "a remote function is called by other processes";
        assert_reported(
            expansion,
            &[
                ("fn", "a remote function must be async: write `async fn f`"),
                ("const", &format!("{why}: it cannot be `const`")),
                ("unsafe", &format!("{why}, which cannot uphold a safety contract: it cannot be `unsafe`")),
                ("extern \"C\"", "a remote function is called by its name: remove the ABI"),
            ],
        );
    }

    #[test]
    fn context_comes_first_by_value() {
        let reported = |parameters: &str, source: &str, message: &str| {
            let item = format!("async fn f({parameters}) -> Result<()> {{}}");
            assert_reported(expanded(&item), &[(source, message)]);
        };
        reported("", "()", "missing context: write `ctx: homing::Context`");
        let by_value = "the first parameter must be the context, by value: write `ctx: homing::Context`";
        reported("ctx: &Context", "&Context", by_value);
        reported(
            "ids: (i64, i64)",
            "(i64, i64)",
            "the first parameter must be the context: write `ctx: homing::Context`",
        );
        let method = "a remote function cannot be a method: move it out of the `impl` and replace `self` with \
                      `ctx: homing::Context`";
        reported("&self, a: i64", "&self", method);
    }

    #[test]
    fn arguments_are_owned_and_plainly_named() {
        let borrowed = "an argument goes to another process, so it cannot be borrowed";
        let opaque = "caller and function need the same type: write a concrete type in place of `impl`";
        let cfg = "a parameter cannot depend on `cfg`: caller and function may be built differently";
        let plain = "an argument must be a plain name: destructure it inside the function";
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
                ("&", &format!("{borrowed}: write an owned type, such as `String` in place of `&str`")),
                ("&Option<u8>", &format!("{borrowed}: write an owned type")),
                ("(g, h)", plain),
                ("_", "an argument needs a name for its callers: write `_name` if the function does not use it"),
                ("ref i", plain),
                ("#[cfg(unix)]", cfg),
                ("impl", opaque),
            ],
        );
    }

    #[test]
    fn sixteen_arguments_are_allowed() {
        let sixteen = ('a'..='p').map(|name| format!("{name}: u8")).collect::<Vec<_>>().join(", ");
        assert_reported(expanded(&format!("async fn f(ctx: Context, {sixteen}) -> Result<()> {{}}")), &[]);
        let most = "a remote function takes at most 16 arguments: put some of them into a struct that serde can read \
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
    fn result_is_required() {
        let returning = |returned: &str| expanded(&format!("async fn f(_: Context) {returned} {{}}"));
        let why = "a remote function must return a `homing::Result`: write";
        assert_reported(returning(""), &[("f", &format!("{why} `-> homing::Result<()>`"))]);
        assert_reported(returning("-> u64"), &[("u64", &format!("{why} `homing::Result<u64>`"))]);
        assert_reported(returning("-> (u8, u8)"), &[("(u8, u8)", &format!("{why} `homing::Result<…>`"))]);
        let opaque = "caller and function need the same type: write a concrete type in place of `impl`";
        assert_reported(returning("-> Result<impl Send>"), &[("impl", opaque)]);
    }

    #[test]
    fn function_with_errors_is_still_remote() {
        let expansion = expanded("pub async fn f() {}").to_string();
        assert!(expansion.contains("pub struct f { }"), "{expansion}");
        assert!(expansion.contains("impl :: homing :: Remote for f"), "{expansion}");
        assert!(expansion.contains("async fn f () { }"), "{expansion}");
    }

    #[test]
    fn other_items_are_left_as_they_are() {
        let belongs = "`#[homing::remote]` belongs above an async function";
        let expansion = expanded("pub struct S { field: i64 }");
        assert!(expansion.to_string().ends_with("pub struct S { field : i64 }"), "{expansion}");
        assert_reported(expansion, &[("struct", belongs)]);
        assert_reported(expanded("async fn f();"), &[(";", "a remote function needs a body: write `{ … }`")]);
        let method = expanded("async fn f(&self) -> Result<()> {}").to_string();
        assert!(method.ends_with("async fn f (& self) -> Result < () > { }"), "{method}");
    }

    #[test]
    fn body_is_not_parsed() {
        let expansion = expanded("async fn f(_: Context) -> Result<()> { unfinished. }");
        assert_reported(expansion, &[]);
    }
}
