//! The services of one context: their instances, and who may call them.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OnceCell, oneshot};

use crate::api::function::{LocalFunction, Table};
use crate::api::router::{Router, WeakRouter};
use crate::builtin::service::{AnyInstance, Instance, Service};
use crate::engine::callee::{Callee, Functions, Outcome};
use crate::engine::shared::Shared;
use crate::routing::handles::Peer;
use crate::routing::policy::has_parent_authority;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::Message;

/// The most results that a deduplicating service keeps.
const MAX_RESULTS: usize = 1024;
/// The most bytes of a result that is kept, with its arguments. So all results take at most 16 MiB.
const MAX_RESULT: usize = 16 * 1024;

/// The result of a method, when it has run once.
type Shareable = Arc<OnceCell<Outcome>>;

/// All services of one context.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<TypeId, Arc<Slot>>,
    is_closed: bool,
}

/// The place of one service.
#[derive(Default)]
pub(super) struct Slot {
    /// `None` if it is not there and cannot be made.
    instance: OnceLock<Option<AnyInstance>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    results: Mutex<VecDeque<Kept>>,
}

/// A result of a deduplicating service.
struct Kept {
    method: &'static str,
    args: Vec<u8>,
    result: Shareable,
}

impl Registry {
    /// The services of a router.
    pub(super) fn of(shared: &Arc<Shared>) -> Arc<Self> {
        let registry = shared.services.get_or_init(|| Arc::new(Self::default()));
        // It has this type: only this function sets it.
        Arc::clone(registry).downcast().unwrap_or_default()
    }

    /// Lets services begin from now on.
    pub(super) fn open(&self) {
        self.lock().is_closed = false;
    }

    /// Adds a service, unless there is one of this type.
    pub(super) fn add<S: Service>(&self, service: S) -> bool {
        let slot = Arc::clone(self.lock().slots.entry(TypeId::of::<S>()).or_default());
        let (mut service, mut is_new) = (Some(service), false);
        slot.instance.get_or_init(|| {
            is_new = true;
            service.take().map(|service| slot.hold(service))
        });
        is_new
    }

    fn has_begun(&self, service: TypeId) -> bool {
        self.lock().slots.contains_key(&service)
    }

    /// Lets a service begin. Returns false if all services have ended.
    fn begin(&self, service: TypeId) -> bool {
        let mut state = self.lock();
        if !state.is_closed {
            state.slots.entry(service).or_default();
        }
        !state.is_closed
    }

    /// The place of a service that has begun; `None` if it has not, or if all services have ended.
    pub(super) fn slot(&self, service: TypeId) -> Option<Arc<Slot>> {
        self.lock().slots.get(&service).cloned()
    }

    /// Lets all services end. Each receiver fails when a service has ended: at the end of its last call.
    pub(super) fn close(&self) -> Vec<oneshot::Receiver<()>> {
        let slots = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.slots)
        };
        slots.into_values().filter_map(|slot| lock(&slot.ended).take()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Slot {
    /// The service, which is made if it is not there.
    pub(super) fn instance<S: Service>(&self, router: &Router) -> Option<Arc<Instance<S>>> {
        let instance = self.instance.get_or_init(|| S::activate(router).map(|service| self.hold(service)));
        Arc::clone(instance.as_ref()?).downcast().ok()
    }

    fn hold<S: Service>(&self, service: S) -> AnyInstance {
        let (_ended, has_ended) = oneshot::channel();
        *lock(&self.ended) = Some(has_ended);
        Arc::new(Instance { service, _ended })
    }

    /// The result of a method with these arguments, which may not be there yet.
    pub(super) fn result(&self, method: &'static str, args: &[u8]) -> Shareable {
        let mut results = lock(&self.results);
        if let Some(kept) = results.iter().find(|kept| kept.method == method && kept.args == args) {
            return Arc::clone(&kept.result);
        }
        if results.len() >= MAX_RESULTS {
            results.pop_front();
        }
        let result = Shareable::default();
        results.push_back(Kept { method, args: args.to_vec(), result: Arc::clone(&result) });
        result
    }

    /// Drops a result that is too large to be kept.
    pub(super) fn forget_if_large(&self, result: &Shareable) {
        let size = |kept: &Kept| match kept.result.get() {
            Some(Ok(value)) => value.len() + kept.args.len(),
            // The text of an error is shorter than the longest, and there are few.
            Some(Err(_)) | None => kept.args.len(),
        };
        lock(&self.results).retain(|kept| !Arc::ptr_eq(&kept.result, result) || size(kept) <= MAX_RESULT);
    }
}

/// The methods of the services of a context, as its engine finds them.
pub(super) struct Services {
    /// A strong one would keep the router from ending.
    router: WeakRouter,
}

impl Services {
    pub(super) fn new(router: WeakRouter) -> Self {
        Self { router }
    }
}

impl Functions for Services {
    fn find(&self, name: &str, message: &Message, peer: &dyn Fn() -> Peer) -> Result<Box<dyn Callee>, Error> {
        let Some(router) = self.router.upgrade() else {
            return Err(DeadReason::ROUTER_ENDED.at(message.dst));
        };
        let me = router.shared().me;
        let found = Table::get().find(name).and_then(|entry| Some((entry, entry.service?)));
        let Some((entry, service)) = found else {
            return Err(Error::Misuse(format!("no such method: {name}")));
        };
        let peer = peer();
        let registry = Registry::of(router.shared());
        let id = (service.id)();
        if !registry.has_begun(id) && !has_parent_authority(message, &peer) {
            let why = "is not yet activated in this context, and the caller is not privileged, therefore autoactivation is disabled";
            return Err(DeadReason::refused(format!("service {} {why}", (service.name)())).at(me));
        }
        let allows = std::panic::AssertUnwindSafe(|| (service.allows)(message, &peer));
        if !std::panic::catch_unwind(allows).unwrap_or(false) {
            return Err(DeadReason::refused(format!("caller is not authorized to invoke {name}")).at(me));
        }
        if !registry.begin(id) {
            return Err(DeadReason::INVALID_HANDLE.at(me));
        }
        Ok(LocalFunction::of(entry, router))
    }

    fn closing(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let registry = Registry::of(self.router.shared());
        Some(Box::new(move || {
            for ended in registry.close() {
                let _ = ended.blocking_recv();
            }
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
