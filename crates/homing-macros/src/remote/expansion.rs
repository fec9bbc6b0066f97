//! The type that stands for a remote function.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, Ident, LitStr};

use crate::remote::function::{Function, Options};
use crate::remote::signature::{Argument, Parts};
use crate::types;

/// Returns the type, the function that stands for it as a value, and, in a separate scope, the type's implementations and the
/// function as it is written.
///
/// Patterns may shadow a function, and no other item: where the name is imported, and in the function's own body, a variable
/// can have it.
pub(super) fn expansion(function: &Function, options: &Options, parts: &Parts) -> TokenStream {
    let implementation = implementation(function, options, parts);
    let call = call(function, parts);
    in_scope(function, &quote! { #implementation #call })
}

/// Returns the type of a function whose arguments are unknown. It is a remote function, so that code that names it has no
/// further error.
pub(super) fn stand_in(function: &Function, name: &LitStr) -> TokenStream {
    let ident = &function.signature.ident;
    let implementation = quote! {
        impl ::homing::Remote for #ident {
            const NAME: &'static ::core::primitive::str = #name;
            type Arguments = ();
            type Output = ();

            async fn run(_: ::homing::Context, (): ()) -> ::homing::Result<()> {
                ::core::unreachable!()
            }
        }
    };
    in_scope(function, &implementation)
}

fn in_scope(function: &Function, implementations: &TokenStream) -> TokenStream {
    let Function { attributes, visibility, signature, body } = function;
    let ident = &signature.ident;
    let of_type = attributes.iter().filter(|found| is_cfg(found) || found.path().is_ident("doc"));
    let of_scope = attributes.iter().filter(|found| is_cfg(found));
    let of_item = of_scope.clone();
    let of_value = format!("Names the function where it is registered: `register({ident})`.");
    let of_function = attributes.iter().filter(|found| !is_cfg(found) && !is_for_callers(found));
    quote! {
        #(#of_type)*
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #visibility struct #ident {}

        #(#of_item)*
        #[doc = #of_value]
        #[allow(dead_code)]
        #visibility fn #ident() -> #ident {
            #ident {}
        }

        #(#of_scope)*
        const _: () = {
            #implementations

            #(#of_function)*
            #signature #body
        };
    }
}

fn implementation(function: &Function, options: &Options, parts: &Parts) -> TokenStream {
    let ident = &function.signature.ident;
    let types = tuple(parts, |argument| &argument.ty);
    let names: Vec<Ident> = (0..parts.arguments.len()).map(|at| format_ident!("__argument_{at}")).collect();
    let Parts { context, returned, output, .. } = parts;
    let Options { name, idempotent, transactional } = options;
    let idempotent = idempotent.then(|| marker("IDEMPOTENT"));
    let transactional = transactional.then(|| marker("TRANSACTIONAL"));
    let context = quote_spanned! {types::place(context)=>
        <#context as ::homing::__private::FromContext>::from_context(__context)
    };
    let future = quote_spanned! {types::place(returned)=>
        impl ::core::future::Future<Output = ::homing::Result<Self::Output>> + ::core::marker::Send
    };
    let ran = quote_spanned! {types::place(returned)=>
        ::homing::__private::returned(#ident(#context, #(#names),*))
    };
    quote! {
        impl ::homing::Remote for #ident {
            const NAME: &'static ::core::primitive::str = #name;
            #idempotent
            #transactional
            type Arguments = #types;
            type Output = #output;

            fn run(
                __context: ::homing::Context,
                (#(#names,)*): Self::Arguments,
            ) -> #future {
                #ran
            }
        }
    }
}

fn marker(name: &str) -> TokenStream {
    let name = Ident::new(name, Span::call_site());
    quote! { const #name: ::core::primitive::bool = true; }
}

fn call(function: &Function, parts: &Parts) -> TokenStream {
    let Function { attributes, visibility, signature, .. } = function;
    let ident = &signature.ident;
    let deprecated = attributes.iter().filter(|found| found.path().is_ident("deprecated"));
    let parameters = parts.arguments.iter().map(|Argument { name, ty }| quote! { #name: #ty });
    let arguments = tuple(parts, |argument| &argument.name);
    // Differ from arguments of these names by their hygiene.
    let [repo, region] = ["repo", "region"].map(|name| Ident::new(name, Span::mixed_site()));
    let (parameters, deprecated) = (&parameters.collect::<Vec<_>>(), &deprecated.collect::<Vec<_>>());
    quote! {
        impl #ident {
            /// Runs the function in the primary region, in place if this node is there.
            #(#deprecated)*
            #[allow(clippy::too_many_arguments)]
            #visibility async fn call(
                #repo: &::homing::Repo,
                #(#parameters),*
            ) -> ::homing::Result<<Self as ::homing::Remote>::Output> {
                ::homing::__private::call::<Self>(#repo, #arguments).await
            }

            /// Runs the function in a region, in place if this node is there. A later read through the handle sees what
            /// the function wrote.
            #(#deprecated)*
            #[allow(clippy::too_many_arguments)]
            #visibility async fn call_in(
                #repo: &::homing::Repo,
                #region: &::homing::Region,
                #(#parameters),*
            ) -> ::homing::Result<<Self as ::homing::Remote>::Output> {
                ::homing::__private::call_in::<Self>(#repo, #region, #arguments).await
            }
        }
    }
}

/// Returns `(a, b,)`. Errors about it underline the list of parameters.
fn tuple<'a, T: ToTokens + 'a>(parts: &'a Parts, part: impl Fn(&'a Argument) -> &'a T) -> Group {
    let elements = parts.arguments.iter().map(part);
    let mut tuple = Group::new(Delimiter::Parenthesis, quote! { #(#elements,)* });
    tuple.set_span(parts.place.resolved_at(Span::call_site()));
    tuple
}

fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}

fn is_for_callers(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc") || attribute.path().is_ident("deprecated")
}
