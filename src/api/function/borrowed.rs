//! A compiler message for exported functions that borrow an argument.
//!
//! Without this module, rustc reports late that the `Deserialize` implementation of `&str` is not general
//! enough, and suggests no remedy. [`export!`] therefore calls the method `owned` on the type of each
//! argument. For a reference, method lookup finds [`Borrowed::owned`] first. Its bound [`Owned`] is never
//! met, so rustc prints the message of [`Owned`]. None of this code runs.
//!
//! [`export!`]: crate::export

use std::marker::PhantomData;

use crate::api::function::Function;

/// The type of an argument.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<T>(PhantomData<fn() -> T>);

/// A bound that no borrowed type meets.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "an exported function cannot borrow an argument: `{Self}` ends before the function runs",
    label = "an argument of this function is `{Self}`",
    note = "take what it owns: `String` instead of `&str`, `Vec<T>` instead of `&[T]`, `PathBuf` instead of `&Path`"
)]
pub trait Owned {}

/// Method lookup finds this trait first, and only for references.
#[doc(hidden)]
pub trait Borrowed<'a, T: ?Sized + 'a> {
    fn owned(&self)
    where
        &'a T: Owned,
    {
    }
}

impl<'a, T: ?Sized> Borrowed<'a, T> for Argument<&'a T> {}

/// Method lookup finds this trait second, for all types.
#[doc(hidden)]
pub trait Any {
    fn owned(&self) {}
}

impl<T> Any for &Argument<T> {}

/// The types of 12 arguments. Missing arguments have the type `()`.
#[doc(hidden)]
pub trait Arguments {
    type Types;
}

#[doc(hidden)]
pub fn arguments<F: Function<K>, K>(_: F) -> Option<<F::Args as Arguments>::Types>
where
    F::Args: Arguments,
{
    None
}

macro_rules! arguments {
    ($($argument:ident)*; $($none:ty)*) => {
        impl<$($argument),*> Arguments for ($($argument,)*) {
            type Types = ($(Argument<$argument>,)* $(Argument<$none>,)*);
        }
    };
}
arguments!(; () () () () () () () () () () () ());
arguments!(A; () () () () () () () () () () ());
arguments!(A B; () () () () () () () () () ());
arguments!(A B C; () () () () () () () () ());
arguments!(A B C D; () () () () () () () ());
arguments!(A B C D E; () () () () () () ());
arguments!(A B C D E F; () () () () () ());
arguments!(A B C D E F G; () () () () ());
arguments!(A B C D E F G H; () () () ());
arguments!(A B C D E F G H I; () () ());
arguments!(A B C D E F G H I J; () ());
arguments!(A B C D E F G H I J K; ());
arguments!(A B C D E F G H I J K L;);
