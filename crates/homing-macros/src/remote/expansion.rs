//! The type that stands for a remote function.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, Ident, LitStr};

use crate::remote::function::{Function, Options};
use crate::remote::signature::{Argument, Parts};
use crate::types;

/// Returns the type and, in a separate scope, its implementations and the function.
///
/// In that scope the function's name, as a value, is the function and not the type. Patterns may shadow a function, so
/// an argument or a variable in the body can have the function's name.
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
    let of_function = attributes.iter().filter(|found| !is_cfg(found) && !is_for_callers(found));
    quote! {
        #(#of_type)*
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #visibility struct #ident;

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
                #ident(#context, #(#names),*)
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
    // Differs from an argument `repo` by its hygiene.
    let repo = Ident::new("repo", Span::mixed_site());
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
