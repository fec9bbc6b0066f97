//! The parameters and the result of a remote function.

use proc_macro2::{Ident, Span, TokenTree};
use syn::punctuated::Punctuated;
use syn::{FnArg, GenericArgument, Pat, PatType, PathArguments, ReturnType, Signature, Token, Type};

use crate::errors::Errors;
use crate::types;

/// The context, the arguments and the result of a remote function.
pub(super) struct Parts {
    pub(super) context: Type,
    pub(super) arguments: Vec<Argument>,
    /// The place of the list of parameters, for errors about all arguments.
    pub(super) place: Span,
    pub(super) returned: Type,
    /// The `T` in the returned `Result<T>`.
    pub(super) output: Type,
}

/// An argument, which the caller sends to the function.
pub(super) struct Argument {
    pub(super) name: Ident,
    pub(super) ty: Type,
}

impl Parts {
    /// Reads a signature. Returns `None` if it has errors.
    pub(super) fn read(signature: &Signature, errors: &mut Errors) -> Option<Self> {
        let mut parts = Errors::default();
        refuse_generics(signature, &mut parts);
        let (context, arguments) = read_parameters(signature, &mut parts);
        let returned = read_returned(signature, &mut parts);
        if !parts.is_empty() {
            errors.append(parts);
            return None;
        }
        let place = signature.paren_token.span.join();
        let (returned, output) = returned?;
        Some(Self { context: context?, arguments, place, returned, output })
    }
}

/// Reports a missing `async`, and the qualifiers that a remote function cannot have. Corrects both.
pub(super) fn correct_qualifiers(signature: &mut Signature, errors: &mut Errors) {
    let ident = &signature.ident;
    if signature.asyncness.is_none() {
        errors.at(signature.fn_token, format!("a remote function must be async: write `async fn {ident}`"));
        signature.asyncness = Some(Token![async](ident.span()));
    }
    let why = "a remote function is called by other processes";
    if let Some(token) = signature.constness.take() {
        errors.at(token, format!("{why}: it cannot be `const`"));
    }
    if let Some(token) = signature.unsafety.take() {
        errors.at(token, format!("{why}, which cannot uphold a safety contract: it cannot be `unsafe`"));
    }
    if let Some(abi) = signature.abi.take() {
        errors.at(abi, "a remote function is called by its name: remove the ABI");
    }
}

fn refuse_generics(signature: &Signature, errors: &mut Errors) {
    let why = "a remote function has one name and one type: it cannot be generic";
    if !signature.generics.params.is_empty() {
        errors.at(&signature.generics.params, why);
    } else if let Some(clause) = &signature.generics.where_clause {
        errors.at(clause, why);
    }
}

fn read_parameters(signature: &Signature, errors: &mut Errors) -> (Option<Type>, Vec<Argument>) {
    let mut inputs = signature.inputs.iter();
    let context = match inputs.next() {
        Some(FnArg::Typed(input)) => read_context(input, errors),
        Some(FnArg::Receiver(receiver)) => {
            let advice = format!("move it out of the `impl` and replace `self` with `{CONTEXT}`");
            errors.at(receiver, format!("a remote function cannot be a method: {advice}"));
            None
        }
        None => {
            let message = format!("missing context: write `{CONTEXT}`");
            errors.push(syn::Error::new(signature.paren_token.span.join(), message));
            None
        }
    };
    let arguments = inputs.clone().filter_map(|input| read_argument(input, errors)).collect();
    let extra: Punctuated<&FnArg, Token![,]> = inputs.skip(MAX_ARGUMENTS).collect();
    if !extra.is_empty() {
        let advice = "put some of them into a struct that serde can read and write";
        errors.at(extra, format!("a remote function takes at most {MAX_ARGUMENTS} arguments: {advice}"));
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(variadic, "a remote function cannot be variadic: write `Vec<T>` in place of `...`");
    }
    (context, arguments)
}

fn read_context(input: &PatType, errors: &mut Errors) -> Option<Type> {
    refuse_cfg(input, errors);
    match types::bare(&input.ty) {
        Type::Path(_) => return Some((*input.ty).clone()),
        Type::Reference(_) => {
            errors.at(&input.ty, format!("the first parameter must be the context, by value: write `{CONTEXT}`"));
        }
        other => errors.at(other, format!("the first parameter must be the context: write `{CONTEXT}`")),
    }
    None
}

fn read_argument(input: &FnArg, errors: &mut Errors) -> Option<Argument> {
    let FnArg::Typed(input) = input else {
        errors.at(input, "`self` cannot be an argument");
        return None;
    };
    refuse_cfg(input, errors);
    refuse_type(&input.ty, errors);
    match &*input.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            let (name, ty) = (pat.ident.clone(), (*input.ty).clone());
            return Some(Argument { name, ty });
        }
        Pat::Wild(wild) => {
            let advice = "write `_name` if the function does not use it";
            errors.at(wild, format!("an argument needs a name for its callers: {advice}"));
        }
        other => errors.at(other, "an argument must be a plain name: destructure it inside the function"),
    }
    None
}

/// Reports a parameter with a condition: the generated code lists the parameters again and cannot repeat it.
fn refuse_cfg(input: &PatType, errors: &mut Errors) {
    for attribute in &input.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            let why = "caller and function may be built differently";
            errors.at(attribute, format!("a parameter cannot depend on `cfg`: {why}"));
        }
    }
}

fn refuse_type(ty: &Type, errors: &mut Errors) {
    let why = "an argument goes to another process, so it cannot be borrowed";
    if let Type::Reference(reference) = types::bare(ty) {
        let owned = owned(&reference.elem).unwrap_or_else(|| "an owned type".to_owned());
        errors.at(ty, format!("{why}: write {owned}"));
    } else if let Some(place) = types::find(ty, &is_borrow) {
        let advice = "write an owned type, such as `String` in place of `&str`";
        errors.push(syn::Error::new(place, format!("{why}: {advice}")));
    }
    refuse_opaque(ty, errors);
}

fn refuse_opaque(ty: &Type, errors: &mut Errors) {
    let is_impl = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "impl");
    if let Some(place) = types::find(ty, &is_impl) {
        let advice = "write a concrete type in place of `impl`";
        errors.push(syn::Error::new(place, format!("caller and function need the same type: {advice}")));
    }
}

fn is_borrow(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '&')
}

/// Returns the usual owned type for a reference to `referred`, if it is known.
fn owned(referred: &Type) -> Option<String> {
    let owned = match types::bare(referred) {
        Type::Slice(slice) => format!("Vec<{}>", word(&slice.elem)?),
        other => match word(other)?.as_str() {
            "str" => "String".to_owned(),
            "Path" => "PathBuf".to_owned(),
            word => word.to_owned(),
        },
    };
    Some(format!("`{owned}`"))
}

/// Returns `ty` if it is a single word.
fn word(ty: &Type) -> Option<String> {
    match types::bare(ty) {
        Type::Path(path) => path.path.get_ident().map(Ident::to_string),
        _ => None,
    }
}

/// Returns the type that the function returns, and its first argument: the `T` in `homing::Result<T>` and in
/// `Result<T, homing::Error>`.
///
/// The compiler checks that the type is a `homing::Result`. Code that takes the `T` from the type would report any other
/// type a second time.
fn read_returned(signature: &Signature, errors: &mut Errors) -> Option<(Type, Type)> {
    let why = "a remote function must return a `homing::Result`";
    let ReturnType::Type(_, ty) = &signature.output else {
        errors.at(&signature.ident, format!("{why}: write `-> homing::Result<()>`"));
        return None;
    };
    refuse_opaque(ty, errors);
    let Some(output) = first_argument(types::bare(ty)) else {
        let inside = word(ty).unwrap_or_else(|| "…".to_owned());
        errors.at(ty, format!("{why}: write `homing::Result<{inside}>`"));
        return None;
    };
    Some(((**ty).clone(), output))
}

fn first_argument(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

const CONTEXT: &str = "ctx: homing::Context";

/// The longest tuple that `homing` encodes as a list of arguments.
const MAX_ARGUMENTS: usize = 16;
