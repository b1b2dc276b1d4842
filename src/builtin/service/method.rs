//! Methods of services, and what runs them.

#![expect(non_snake_case, reason = "the type parameters' names serve as variables, too")]

use std::any::{TypeId, type_name};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::econtext::Econtext;
use crate::api::function::{Asynchronous, Blocking, Entry, OfService, Return};
use crate::api::router::WeakRouter;
use crate::builtin::service::registry::{Registry, Services};
use crate::builtin::service::{Allow, Instance, Invoker, Service};
use crate::engine::callee::{Failure, Functions, Outcome, Running};
use crate::routing::runs_on::RunsOn;
use crate::wire::codec::{self, Origin};

/// A method that can be called in another context.
///
/// Implemented for every `fn` item, sync or async, that takes `&self` of a [`Service`], then `&Econtext` if it
/// likes, then up to 8 arguments, which are owned and serialisable. Its result is as that of a
/// [`Function`](crate::call::Function). The type parameter `K` only distinguishes these forms.
///
/// The [module](mod@crate::service) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no method of a service that another context can call",
    note = "it takes `&self` of a type with `impl offshoot::service::Service`, then `&Econtext` if it likes; its arguments are owned and serialisable by serde, and it returns a `Result` or an `offshoot::Value`"
)]
pub trait Method<K>: Copy + Send + Sync + 'static {
    /// The service.
    type Service: Service;
    /// The arguments that are sent, as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// The result that the caller gets on success.
    type Ok: Serialize + DeserializeOwned + Send + 'static;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "only this crate calls it")]
    fn run<'a>(self, service: Arc<Instance<Self::Service>>, econtext: &'a Econtext, args: Self::Args) -> Running<'a>;
}

macro_rules! shapes {
    ($($arg:ident)*) => {
        shapes!(@inject []; $($arg)*);
        shapes!(@inject [Econtext]; $($arg)*);
    };
    (@inject [$($injected:ident)?]; $($arg:ident)*) => {
        impl<FN, S, R, M, $($arg),*> Method<(Blocking, M, fn(&S, $(&$injected,)? $($arg),*) -> R)> for FN
        where
            FN: Fn(&S, $(&$injected,)? $($arg),*) -> R + Copy + Send + Sync + 'static,
            S: Service,
            R: Return<M>,
            $($arg: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Service = S;
            type Args = ($($arg,)*);
            type Ok = R::Ok;
            #[expect(private_interfaces, reason = "only this crate calls it")]
            fn run<'a>(self, service: Arc<Instance<S>>, _econtext: &'a Econtext, args: Self::Args) -> Running<'a> {
                let ($($arg,)*) = args;
                Running::Done(self(&service.service, $(shapes!(@econtext $injected _econtext),)? $($arg),*).outcome())
            }
        }

        impl<FN, S, R, M, $($arg),*> Method<(Asynchronous, M, fn(&S, $(&$injected,)? $($arg),*) -> R)> for FN
        where
            FN: AsyncFn(&S, $(&$injected,)? $($arg),*) -> R + Copy + Send + Sync + 'static,
            S: Service,
            R: Return<M>,
            $($arg: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Service = S;
            type Args = ($($arg,)*);
            type Ok = R::Ok;
            #[expect(private_interfaces, reason = "only this crate calls it")]
            fn run<'a>(self, service: Arc<Instance<S>>, _econtext: &'a Econtext, args: Self::Args) -> Running<'a> {
                Running::Pending(Box::pin(async move {
                    let ($($arg,)*) = args;
                    self(&service.service, $(shapes!(@econtext $injected _econtext),)? $($arg),*).await.outcome()
                }))
            }
        }
    };
    (@econtext $injected:ident $econtext:ident) => { $econtext };
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

/// The entry of a method in the table. Only for [`service!`](crate::service!).
#[doc(hidden)]
pub const fn entry<F: Method<K>, K>(
    _: F,
    run: for<'a> fn(&'a Econtext, &[u8]) -> Running<'a>,
    allow: Allow,
    place: &'static str,
) -> Entry {
    let service = OfService {
        name: type_name::<F::Service>,
        id: TypeId::of::<F::Service>,
        is_serial: matches!(F::Service::INVOKER, Invoker::Serialized),
        allows: allow.rule(),
        services,
    };
    let runs_on = if matches!(F::Service::INVOKER, Invoker::Io) { RunsOn::Io } else { RunsOn::Concurrent };
    Entry::of_service(type_name::<F>, signature_of::<F, K>, (run, runs_on), service, place)
}

fn services(router: WeakRouter) -> Box<dyn Functions> {
    Box::new(Services::new(router))
}

fn signature_of<F: Method<K>, K>() -> String {
    format!("{}{} -> {}", type_name::<F>(), type_name::<F::Args>(), type_name::<F::Ok>())
}

/// Decodes the arguments, and runs the method of the service of this context with them.
#[doc(hidden)]
pub fn run_method<'a, F: Method<K>, K>(method: F, econtext: &'a Econtext, args: &[u8]) -> Running<'a> {
    let shared = econtext.shared();
    let (slot, instance) = match Registry::of(shared).instance::<F::Service>(econtext.router()) {
        Ok(found) => found,
        Err(why) => return failed(type_name::<F::Service>(), why),
    };
    // The caller need not be trusted. Contexts and senders in its arguments keep its authority.
    let origin = Origin::at(shared, econtext.caller_id(), econtext.authority());
    let decoded = match codec::decode::<F::Args>(args, Some(origin)) {
        Ok(args) => args,
        Err(why) => {
            let why = format!("the arguments are not of type {}: {why}", type_name::<F::Args>());
            return Running::Done(Err(Failure::new("offshoot::Error", why)));
        }
    };
    if F::Service::INVOKER != Invoker::Deduplicated {
        return method.run(instance, econtext, decoded);
    }
    let result = slot.result(type_name::<F>(), args);
    Running::Pending(Box::pin(async move {
        let work = async move || -> Outcome {
            match method.run(instance, econtext, decoded) {
                Running::Done(outcome) => outcome,
                Running::Pending(work) => work.await,
            }
        };
        let outcome = result.get_or_init(work).await.clone();
        slot.forget_unless_kept(&result);
        outcome
    }))
}

fn failed<'a>(service: &str, why: &str) -> Running<'a> {
    Running::Done(Err(Failure::new("offshoot::service::Error", format!("service {service} {why}"))))
}
