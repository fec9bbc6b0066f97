//! The arguments of a named function.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::function::codec;
use crate::function::codec::CodecError;
use crate::function::error::FunctionError;

/// The encoded arguments of a call: one CBOR item for each, in the order of the function's parameters.
///
/// A function may get another parameter at its end without breaking callers with an older build: a missing argument is
/// decoded from null, so an `Option<T>` becomes `None`. An additional argument is accepted if it is null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(Vec<Bytes>);

impl Arguments {
    /// Returns arguments that are already encoded, one CBOR item for each.
    pub fn from_encoded(items: Vec<Bytes>) -> Self {
        Self(items)
    }

    /// Returns the encoded items.
    pub fn into_encoded(self) -> Vec<Bytes> {
        self.0
    }

    /// Decodes the arguments into a tuple of up to sixteen values, for example `decode::<(i64, Option<String>)>()`.
    ///
    /// # Errors
    ///
    /// [`FunctionError::is_bad_arguments`] if an argument cannot be decoded; the message says which one. If
    /// [`Function::call`](crate::Function::call) returns this error, the caller concludes that nothing was executed, so
    /// a function must decode its arguments before it does anything else.
    pub fn decode<A: FromArguments>(self) -> Result<A, FunctionError> {
        A::from_arguments(self)
    }
}

/// A type that can be sent as the arguments of a function: a tuple with up to sixteen arguments, or a reference to a
/// single argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as the arguments of a function",
    label = "not a reference to a serializable value and not a tuple of serializable values",
    note = "for one argument pass a reference to it, such as `&names`, or a tuple, such as `(names,)`",
    note = "for several arguments pass a tuple, such as `(id, names)`; for none pass `()`"
)]
pub trait IntoArguments {
    /// Encodes the arguments.
    ///
    /// # Errors
    ///
    /// [`is_misuse`](crate::Error::is_misuse) if the `Serialize` implementation of a value fails.
    fn into_arguments(self) -> Result<Arguments>;
}

impl<T: Serialize + ?Sized> IntoArguments for &T {
    fn into_arguments(self) -> Result<Arguments> {
        Ok(Arguments(vec![codec::encode(self)?]))
    }
}

impl IntoArguments for Arguments {
    fn into_arguments(self) -> Result<Arguments> {
        Ok(self)
    }
}

/// A type into which arguments can be decoded: a tuple of up to sixteen values.
#[diagnostic::on_unimplemented(
    message = "the arguments of a function cannot be decoded into `{Self}`",
    label = "not a tuple of deserializable values",
    note = "a function of one parameter takes a tuple of one, such as `(names,): (Vec<String>,)`"
)]
pub trait FromArguments: Sized {
    /// Decodes the arguments.
    ///
    /// # Errors
    ///
    /// [`FunctionError::is_bad_arguments`] if an argument cannot be decoded.
    fn from_arguments(arguments: Arguments) -> Result<Self, FunctionError>;
}

/// The items that have not been decoded yet.
struct Items {
    items: std::vec::IntoIter<Bytes>,
    number: usize,
}

impl Items {
    fn new(Arguments(items): Arguments) -> Self {
        Self { items: items.into_iter(), number: 0 }
    }

    fn decode_next<T: DeserializeOwned>(&mut self) -> Result<T, FunctionError> {
        self.number += 1;
        match self.items.next() {
            Some(item) => codec::decode(&item).map_err(|error| self.flaw(&error)),
            None => codec::decode(MISSING)
                .map_err(|_| FunctionError::bad_arguments(format!("argument {} is missing", self.number))),
        }
    }

    fn finish(self) -> Result<(), FunctionError> {
        let excess = self.items.filter(|item| !codec::is_null(item)).count();
        match excess {
            0 => Ok(()),
            _ => Err(FunctionError::bad_arguments(format!(
                "{excess} more arguments than the {} that the function takes",
                self.number
            ))),
        }
    }

    fn flaw(&self, error: &CodecError) -> FunctionError {
        FunctionError::bad_arguments(format!("argument {}: {error}", self.number))
    }
}

macro_rules! tuples {
    ($(($($type:ident)*))*) => {$(
        impl<$($type: Serialize),*> IntoArguments for ($($type,)*) {
            #[allow(non_snake_case, reason = "the names of the types serve as names of the values")]
            fn into_arguments(self) -> Result<Arguments> {
                let ($($type,)*) = self;
                Ok(Arguments(vec![$(codec::encode(&$type)?),*]))
            }
        }

        impl<$($type: DeserializeOwned),*> FromArguments for ($($type,)*) {
            #[allow(unused_mut, reason = "the empty tuple")]
            fn from_arguments(arguments: Arguments) -> Result<Self, FunctionError> {
                let mut items = Items::new(arguments);
                let values = ($(items.decode_next::<$type>()?,)*);
                items.finish()?;
                Ok(values)
            }
        }
    )*};
}

tuples! {
    ()
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
    (A B C D E F G H I J K L M)
    (A B C D E F G H I J K L M N)
    (A B C D E F G H I J K L M N O)
    (A B C D E F G H I J K L M N O P)
}

/// A missing argument is decoded from null.
const MISSING: &[u8] = &[0xf6];

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(arguments: impl IntoArguments) -> Arguments {
        arguments.into_arguments().unwrap()
    }

    #[test]
    fn tuples_come_back() {
        let () = encoded(()).decode().unwrap();
        assert_eq!(encoded((7_u8,)).decode::<(u8,)>().unwrap(), (7,));
        let eight = (1_u8, "two", 3.0, 'f', [5], None::<u8>, (7,), true);
        let mut items = encoded(eight).into_encoded().into_iter();
        let mut next = || Arguments(items.next().into_iter().collect());
        assert_eq!(next().decode::<(u8,)>().unwrap().0, 1);
        assert_eq!(next().decode::<(String,)>().unwrap().0, "two");
        let rest = Arguments(items.collect());
        let (c, d, e, f, g, h) = rest.decode().unwrap();
        assert_eq!((1_u8, "two", c, d, e, f, g, h), eight);
    }

    #[test]
    #[expect(clippy::needless_borrows_for_generic_args, reason = "a tuple and a reference to one differ in meaning")]
    fn reference_is_one_argument() {
        assert_eq!(encoded("Ada").decode::<(String,)>().unwrap().0, "Ada");
        assert_eq!(encoded(&vec![1, 2]).decode::<(Vec<u8>,)>().unwrap().0, [1, 2]);
        let pair = (1, 2);
        assert_eq!(encoded(&pair).decode::<((u8, u8),)>().unwrap().0, pair);
        assert_eq!(encoded([1, 2].as_slice()).into_encoded().len(), 1);
    }

    #[test]
    fn missing_argument_decodes_as_none() {
        let (name, age): (String, Option<u8>) = encoded(("Ada",)).decode().unwrap();
        assert_eq!((name.as_str(), age), ("Ada", None));
    }

    #[test]
    fn additional_argument_may_be_null() {
        assert_eq!(encoded(("Ada", None::<u8>)).decode::<(String,)>().unwrap().0, "Ada");
        let error = encoded(("Ada", Some(36))).decode::<(String,)>().unwrap_err();
        assert!(error.is_bad_arguments());
        assert_eq!(error.to_string(), "1 more arguments than the 1 that the function takes");
    }

    #[test]
    fn what_does_not_decode_is_named() {
        let error = encoded((1, "two")).decode::<(u8, u8)>().unwrap_err();
        assert!(error.is_bad_arguments());
        assert!(error.to_string().starts_with("argument 2: "), "{error}");
        let error = encoded((1,)).decode::<(u8, u8)>().unwrap_err();
        assert_eq!(error.to_string(), "argument 2 is missing");
    }
}
