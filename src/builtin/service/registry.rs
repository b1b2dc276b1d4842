//! The services of one context: their instances, and who may call them.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, oneshot};

use crate::api::function::{LocalFunction, Table};
use crate::api::router::{Router, WeakRouter};
use crate::builtin::service::{AnyInstance, Instance, Service};
use crate::engine::callee::{Callee, Functions, Outcome};
use crate::engine::shared::Shared;
use crate::routing::handles::Peer;
use crate::routing::policy::has_parent_authority;
use crate::sys::blocking::block_on;
use crate::wire::error::{DeadReason, Error};
use crate::wire::message::Message;

/// The most results that a deduplicating service keeps.
const MAX_RESULTS: usize = 1024;
/// The most bytes of a result that is kept. So all results of a service take at most 16 MiB.
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
pub(super) struct Slot {
    /// `None` if it was not added and cannot be made.
    instance: OnceLock<Option<AnyInstance>>,
    results: Mutex<VecDeque<Kept>>,
    has_ended: Mutex<Option<oneshot::Receiver<()>>>,
    /// Tells who waits for the end, by its own end. The instance has it too.
    ended: Arc<oneshot::Sender<()>>,
}

impl Default for Slot {
    fn default() -> Self {
        let (ended, has_ended) = oneshot::channel();
        Self {
            instance: OnceLock::new(),
            results: Mutex::default(),
            has_ended: Mutex::new(Some(has_ended)),
            ended: Arc::new(ended),
        }
    }
}

/// A result of a deduplicating service.
struct Kept {
    /// The SHA-256 of the method and its arguments. The arguments themselves could take much memory.
    key: [u8; 32],
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

    /// The service, which is made if it is not there, and its place. The error goes on after the name of the type.
    pub(super) fn instance<S: Service>(&self, router: &Router) -> Result<(Arc<Slot>, Arc<Instance<S>>), &'static str> {
        let id = TypeId::of::<S>();
        let slot = self.lock().slots.get(&id).cloned().ok_or("has ended")?;
        let unmade = Unmade { registry: self, id, slot: &slot };
        let instance = slot.instance.get_or_init(|| S::activate(router).map(|service| slot.hold(service)));
        let instance = instance.clone().and_then(|instance| instance.downcast().ok());
        drop(unmade);
        let none = "is not registered in this context: add it to a Pool, or write Service::activate";
        Ok((slot, instance.ok_or(none)?))
    }

    /// Lets all services end, and blocks until they have: until the last call of each has ended.
    pub(super) fn end(&self) {
        let slots = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.slots)
        };
        let has_ended = |slot: Arc<Slot>| lock(&slot.has_ended).take();
        let all: Vec<_> = slots.into_values().filter_map(has_ended).collect();
        for ended in all {
            // The end of the sender is the message.
            let _ = block_on(ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Gives up the place of a service that could not be made, or whose making has panicked. So it can be added later.
struct Unmade<'a> {
    registry: &'a Registry,
    id: TypeId,
    slot: &'a Arc<Slot>,
}

impl Drop for Unmade<'_> {
    fn drop(&mut self) {
        if matches!(self.slot.instance.get(), Some(Some(_))) {
            return;
        }
        let mut state = self.registry.lock();
        if state.slots.get(&self.id).is_some_and(|slot| Arc::ptr_eq(slot, self.slot)) {
            state.slots.remove(&self.id);
        }
    }
}

impl Slot {
    fn hold<S: Service>(&self, service: S) -> AnyInstance {
        Arc::new(Instance { service, _ended: Arc::clone(&self.ended) })
    }

    /// The result of a method with these arguments, which may not be there yet.
    pub(super) fn result(&self, method: &'static str, args: &[u8]) -> Shareable {
        // No name has this byte.
        let key = Sha256::new().chain_update(method).chain_update([0]).chain_update(args).finalize().into();
        let mut results = lock(&self.results);
        if let Some(kept) = results.iter().find(|kept| kept.key == key) {
            return Arc::clone(&kept.result);
        }
        if results.len() >= MAX_RESULTS {
            results.pop_front();
        }
        let result = Shareable::default();
        results.push_back(Kept { key, result: Arc::clone(&result) });
        result
    }

    /// Forgets an error, which only those get that wait for it now, and a result that is too large to be kept.
    pub(super) fn forget_unless_kept(&self, result: &Shareable) {
        if !matches!(result.get(), Some(Ok(value)) if value.len() <= MAX_RESULT) {
            lock(&self.results).retain(|kept| !Arc::ptr_eq(&kept.result, result));
        }
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
        router.shared().check_allowed(name)?;
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
        Some(Box::new(move || registry.end()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
