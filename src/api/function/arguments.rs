//! Compiler messages for the arguments of exported functions.
//!
//! Without this module, rustc says of a wrong argument that the function is none that can be exported, or that the
//! `Deserialize` implementation of `&str` is not general enough, and suggests no remedy. [`export!`] therefore calls the
//! methods `owned` and `sent` on the type of each argument. For a reference, method lookup finds those of [`Borrowed`]
//! first. The bound [`Owned`] is met only by what the called context supplies, so rustc prints its message for all
//! other references. For all other types, rustc says which trait of [`Sent`] is missing. None of this code runs.
//!
//! [`export!`]: crate::export

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::econtext::Econtext;
use crate::api::router::Router;

/// The type of an argument.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<T>(PhantomData<fn() -> T>);

/// A bound that only those borrowed types meet that the called context supplies.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "an exported function cannot borrow an argument: `{Self}` ends before the function runs",
    label = "an argument of this function is `{Self}`",
    note = "take what it owns: `String` instead of `&str`, `Vec<T>` instead of `&[T]`, `PathBuf` instead of `&Path`"
)]
pub trait Owned {}

impl Owned for &Econtext {}
impl Owned for &Router {}

/// A bound that all types meet that can be sent.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of an exported function",
    label = "an argument of this function is `{Self}`",
    note = "if it is yours, derive `serde::Serialize` and `serde::Deserialize` for it; what it holds must be owned, and `Send`"
)]
pub trait Sent {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Sent for T {}

/// Method lookup finds this trait first, and only for references.
#[doc(hidden)]
pub trait Borrowed<'a, T: ?Sized + 'a> {
    fn owned(&self)
    where
        &'a T: Owned,
    {
    }

    fn sent(&self) {}
}

impl<'a, T: ?Sized> Borrowed<'a, T> for Argument<&'a T> {}

/// Method lookup finds this trait second, for all types.
#[doc(hidden)]
pub trait Any<T> {
    fn owned(&self) {}

    fn sent(&self)
    where
        T: Sent,
    {
    }
}

impl<T> Any<T> for &Argument<T> {}

/// A function with any arguments. `K` only distinguishes their number.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that can be exported",
    note = "it must be a plain `fn` with at most 12 arguments behind `&Econtext` and `&Router`; more of them go into one struct"
)]
pub trait Signature<K> {
    /// The types of 14 arguments. Missing arguments have the type `()`.
    type Types;
}

#[doc(hidden)]
pub fn arguments<F: Signature<K>, K>(_: F) -> Option<F::Types> {
    None
}

macro_rules! signature {
    ($($argument:ident)*; $($none:ty)*) => {
        impl<F, R, $($argument),*> Signature<(R, $($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R,
        {
            type Types = ($(Argument<$argument>,)* $(Argument<$none>,)*);
        }
    };
}
signature!(; () () () () () () () () () () () () () ());
signature!(A; () () () () () () () () () () () () ());
signature!(A B; () () () () () () () () () () () ());
signature!(A B C; () () () () () () () () () () ());
signature!(A B C D; () () () () () () () () () ());
signature!(A B C D E; () () () () () () () () ());
signature!(A B C D E G; () () () () () () () ());
signature!(A B C D E G H; () () () () () () ());
signature!(A B C D E G H I; () () () () () ());
signature!(A B C D E G H I J; () () () () ());
signature!(A B C D E G H I J K; () () () ());
signature!(A B C D E G H I J K L; () () ());
signature!(A B C D E G H I J K L M; () ());
signature!(A B C D E G H I J K L M N; ());
signature!(A B C D E G H I J K L M N O;);
