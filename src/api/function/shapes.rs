//! Implements [`Function`] for every form of `fn`: sync and async, with each combination of injected
//! parameters, with up to 12 arguments.

#![expect(non_snake_case, reason = "the type parameters' names serve as variables, too")]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::econtext::Econtext;
use crate::api::function::{Asynchronous, Blocking, Function, Return};
use crate::api::router::Router;
use crate::engine::callee::Running;

macro_rules! shapes {
    ($($arg:ident)*) => {
        shapes!(@inject []; $($arg)*);
        shapes!(@inject [Econtext]; $($arg)*);
        shapes!(@inject [Router]; $($arg)*);
        shapes!(@inject [Econtext Router]; $($arg)*);
    };
    (@inject [$($injected:ident)*]; $($arg:ident)*) => {
        impl<FN, R, M, $($arg),*> Function<(Blocking, M, fn($(&$injected,)* $($arg),*) -> R)> for FN
        where
            FN: Fn($(&$injected,)* $($arg),*) -> R + Copy + Send + Sync + 'static,
            R: Return<M>,
            $($arg: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Args = ($($arg,)*);
            type Ok = R::Ok;
            fn run<'a>(self, _econtext: &'a Econtext, args: Self::Args) -> Running<'a> {
                let call = move |($($arg,)*): Self::Args| self($(<$injected as Inject>::inject(_econtext),)* $($arg),*);
                Running::Done(call(args).outcome())
            }
        }

        impl<FN, R, M, $($arg),*> Function<(Asynchronous, M, fn($(&$injected,)* $($arg),*) -> R)> for FN
        where
            FN: AsyncFn($(&$injected,)* $($arg),*) -> R + Copy + Send + Sync + 'static,
            R: Return<M>,
            $($arg: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Args = ($($arg,)*);
            type Ok = R::Ok;
            fn run<'a>(self, _econtext: &'a Econtext, args: Self::Args) -> Running<'a> {
                Running::Pending(Box::pin(async move {
                    let ($($arg,)*) = args;
                    self($(<$injected as Inject>::inject(_econtext),)* $($arg),*).await.outcome()
                }))
            }
        }
    };
}

/// A type that a function can take as an injected parameter.
trait Inject {
    fn inject(econtext: &Econtext) -> &Self;
}

impl Inject for Econtext {
    fn inject(econtext: &Econtext) -> &Self {
        econtext
    }
}

impl Inject for Router {
    fn inject(econtext: &Econtext) -> &Self {
        econtext.router()
    }
}

shapes!();
shapes!(A);
shapes!(A B);
shapes!(A B C);
shapes!(A B C D);
shapes!(A B C D E);
shapes!(A B C D E F);
shapes!(A B C D E F G);
shapes!(A B C D E F G H);
shapes!(A B C D E F G H I);
shapes!(A B C D E F G H I J);
shapes!(A B C D E F G H I J L);
shapes!(A B C D E F G H I J L N);
