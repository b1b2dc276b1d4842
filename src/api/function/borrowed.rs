//! A message for functions that borrow an argument.
//!
//! rustc says of `&str` that its `Deserialize` is not general enough, late and without a remedy. [`export!`] asks each
//! argument's type by a method that a reference finds first, and which no reference has. Nothing of this runs.
//!
//! [`export!`]: crate::export

use std::marker::PhantomData;

use crate::api::function::Function;

/// The type of an argument.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<T>(PhantomData<fn() -> T>);

/// What no borrowed type is.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "an exported function cannot borrow an argument: `{Self}` ends before the function runs",
    label = "an argument of this function is `{Self}`",
    note = "take what it owns: `String` instead of `&str`, `Vec<T>` instead of `&[T]`, `PathBuf` instead of `&Path`"
)]
pub trait Owned {}

/// Found first, for references alone.
#[doc(hidden)]
pub trait Borrowed<'a, T: ?Sized + 'a> {
    fn owned(&self)
    where
        &'a T: Owned,
    {
    }
}

impl<'a, T: ?Sized> Borrowed<'a, T> for Argument<&'a T> {}

/// Found second, for all types.
#[doc(hidden)]
pub trait Any {
    fn owned(&self) {}
}

impl<T> Any for &Argument<T> {}

/// The types of all arguments; of what is not there it is `()`.
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
