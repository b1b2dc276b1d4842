//! The part of a select that does not depend on the type of its values.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::api::call::RawCall;
use crate::api::latch::AnyLatch;
use crate::api::receiver;
use crate::api::select::MemberId;
use crate::engine::shared::Shared;
use crate::routing::fair_queue::{FairQueue, Got, Hook};
use crate::sys::deadline::deadline;
use crate::wire::error::{Closed, Error};
use crate::wire::message::Message;

/// Locked while one select becomes a member of another. Otherwise two threads could create a cycle of
/// selects.
static TOPOLOGY: Mutex<()> = Mutex::new(());

pub(super) struct Core {
    /// The members that have a value, in the order of arrival. A member is listed once for each value. Some
    /// of the values may already have been taken by another reader.
    ready: FairQueue<MemberId>,
    members: Mutex<BTreeMap<MemberId, Source>>,
    /// The select that has this one as a member.
    owner: Mutex<Weak<Self>>,
    oneshot: AtomicBool,
}

pub(super) enum Source {
    Receiver(Arc<receiver::Inner>),
    Call(RawCall),
    Select(Arc<Core>),
    Latch(Arc<dyn AnyLatch>),
    /// A member that could not be added. Its only value is the reason.
    Failed(Error),
}

/// A value or error that a select has received.
pub(super) struct Item {
    pub(super) member: MemberId,
    pub(super) source: MemberId,
    pub(super) value: Result<Value, Error>,
}

pub(super) enum Value {
    Message(Message),
    Result(Box<RawCall>, Bytes),
    /// A value of a latch.
    Local(Box<dyn Any + Send>),
}

/// Notifies a select that a call has ended.
struct Bell(Weak<Core>, MemberId);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        announce(&self.0, self.1);
    }
}

fn announce(core: &Weak<Core>, member: MemberId) {
    if let Some(core) = core.upgrade() {
        // A closed select has no members, so a failed `put` does no harm.
        let _ = core.ready.put(member);
    }
}

fn next_id() -> MemberId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    MemberId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn misuse(text: &str) -> Error {
    Error::Select(text.into())
}

fn empty() -> Error {
    misuse("Cannot get(), Select instance is empty")
}

fn closed() -> Error {
    Error::Closed(Closed::Select)
}

impl Default for Core {
    fn default() -> Self {
        Self {
            ready: FairQueue::default(),
            members: Mutex::default(),
            owner: Mutex::default(),
            oneshot: AtomicBool::new(true),
        }
    }
}

impl Core {
    pub(super) fn set_oneshot(&self, on: bool) {
        self.oneshot.store(on, Ordering::Relaxed);
    }

    pub(super) fn add(self: &Arc<Self>, mut source: Source) -> Result<MemberId, Error> {
        let id = next_id();
        let core = Arc::downgrade(self);
        let topology = matches!(source, Source::Select(_)).then(|| TOPOLOGY.lock());
        let mut members = self.members();
        if self.ready.is_closed() {
            return Err(closed());
        }
        let present = match &mut source {
            Source::Receiver(inner) => {
                let bell = core.clone();
                let hook: Hook = Arc::new(move || announce(&bell, id));
                inner
                    .fair_queue()
                    .set_hook(hook)
                    .ok_or_else(|| misuse("Cannot add: Receiver is already owned by another Select"))?
            }
            Source::Select(inner) => {
                if self.is_below(inner) {
                    return Err(misuse("Adding this Select instance would create a Select cycle"));
                }
                let bell = core.clone();
                let hook: Hook = Arc::new(move || announce(&bell, id));
                let present = inner
                    .ready
                    .set_hook(hook)
                    .ok_or_else(|| misuse("Cannot add: Select is already owned by another Select"))?;
                *inner.owner() = core;
                present
            }
            Source::Latch(latch) => {
                let bell = core.clone();
                let hook: Hook = Arc::new(move || announce(&bell, id));
                latch.set_hook(hook).ok_or_else(|| misuse("Cannot add: Latch is already owned by another Select"))?
            }
            // A call cannot belong to another select, since it cannot be cloned.
            Source::Call(call) => usize::from(call.is_ready(&Waker::from(Arc::new(Bell(core, id))))),
            Source::Failed(_) => 1,
        };
        members.insert(id, source);
        drop(members);
        drop(topology);
        for _ in 0..present {
            let _ = self.ready.put(id);
        }
        Ok(id)
    }

    /// Adds a member whose only value is this error.
    pub(super) fn add_failed(&self, error: Error) {
        let id = next_id();
        self.members().insert(id, Source::Failed(error));
        let _ = self.ready.put(id);
    }

    pub(super) fn remove(&self, id: MemberId) -> Result<Source, Error> {
        let source = self.members().remove(&id).ok_or_else(|| misuse("Instance is not a member of this Select"))?;
        source.let_go();
        self.wake_if_empty();
        Ok(source)
    }

    pub(super) fn close(&self) {
        let members = {
            let mut members = self.members();
            self.ready.close();
            std::mem::take(&mut *members)
        };
        members.values().for_each(Source::let_go);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.members().len()
    }

    /// Number of values that wait in the members.
    pub(super) fn waiting(&self) -> usize {
        self.members().values().map(Source::waiting).sum()
    }

    pub(super) async fn recv(&self) -> Result<Item, Error> {
        if self.is_empty() {
            return Err(empty());
        }
        loop {
            let mut wait = pin!(self.ready.wait());
            let got = poll_fn(|cx| match wait.as_mut().poll(cx) {
                // The select may have become empty just before this waiter was queued.
                Poll::Pending if self.is_empty() && !self.ready.is_closed() => Poll::Ready(Err(empty())),
                Poll::Pending => Poll::Pending,
                Poll::Ready(got) => Poll::Ready(Ok(got)),
            });
            match got.await? {
                Got::Item(id) => {
                    if let Some(item) = self.take(id) {
                        return Ok(item);
                    }
                }
                Got::Closed => return Err(closed()),
                Got::Poked => {}
            }
        }
    }

    pub(super) async fn recv_timeout(&self, limit: Duration) -> Result<Item, Error> {
        let Some(shared) = self.shared() else {
            return Err(empty());
        };
        let mut wait = pin!(self.recv());
        let mut sleep = None;
        poll_fn(|cx| {
            if let Poll::Ready(item) = wait.as_mut().poll(cx) {
                return Poll::Ready(item);
            }
            let sleep = sleep.get_or_insert_with(|| shared.sleep_until(deadline(limit)));
            Pin::new(sleep).poll(cx).map(|_| Err(late(limit)))
        })
        .await
    }

    pub(super) fn try_recv(&self) -> Result<Option<Item>, Error> {
        while let Got::Item(id) = self.ready.try_take() {
            if let Some(item) = self.take(id) {
                return Ok(Some(item));
            }
        }
        if self.is_empty() { Err(empty()) } else { Ok(None) }
    }

    /// Returns `None` when no member is left.
    pub(super) fn poll_next(&self, cx: &TaskContext<'_>) -> Poll<Option<Item>> {
        loop {
            match self.ready.poll_watch(cx.waker()) {
                Poll::Ready(Got::Item(id)) => {
                    if let Some(item) = self.take(id) {
                        return Poll::Ready(Some(item));
                    }
                }
                Poll::Pending if !self.is_empty() => return Poll::Pending,
                _ => return Poll::Ready(None),
            }
        }
    }

    /// Takes a value from a member, if it still has one.
    fn take(&self, id: MemberId) -> Option<Item> {
        let mut members = self.members();
        let (mut source, mut done) = (id, self.oneshot.load(Ordering::Relaxed));
        let value = match members.get_mut(&id)? {
            Source::Receiver(inner) => match inner.try_recv() {
                Ok(message) => Ok(Value::Message(message?)),
                Err(error) => {
                    // No further value can arrive.
                    done |= matches!(error, Error::Closed(_) | Error::Handle { .. });
                    Err(error)
                }
            },
            Source::Latch(latch) => match latch.try_take() {
                Ok(value) => Ok(Value::Local(value?)),
                Err(error) => {
                    done = true;
                    Err(error)
                }
            },
            Source::Call(call) => {
                let value = call.try_recv()?;
                let Some(Source::Call(call)) = members.remove(&id) else { return None };
                value.map(|value| Value::Result(Box::new(call), value))
            }
            Source::Failed(error) => {
                done = true;
                Err(error.clone())
            }
            Source::Select(inner) => match inner.try_recv() {
                Ok(Some(item)) => {
                    source = item.source;
                    item.value
                }
                _ if inner.ready.is_closed() => {
                    let inner = members.remove(&id);
                    drop(members);
                    drop(inner);
                    self.wake_if_empty();
                    return None;
                }
                _ => return None,
            },
        };
        let gone = if done { members.remove(&id) } else { None };
        drop(members);
        if let Some(gone) = gone {
            gone.let_go();
        }
        self.wake_if_empty();
        Some(Item { member: id, source, value })
    }

    /// Wakes all waiters if the select has become empty. They would otherwise wait forever.
    fn wake_if_empty(&self) {
        if self.is_empty() {
            self.ready.poke();
        }
    }

    /// Whether `other` is this select, or a select that contains this one at any depth.
    fn is_below(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut core = Arc::clone(self);
        loop {
            if Arc::ptr_eq(&core, other) {
                return true;
            }
            let owner = core.owner().upgrade();
            match owner {
                Some(owner) => core = owner,
                None => return false,
            }
        }
    }

    /// The router of a member, which provides the timer.
    fn shared(&self) -> Option<Arc<Shared>> {
        self.members().values().find_map(|source| match source {
            Source::Receiver(inner) => Some(Arc::clone(inner.shared())),
            Source::Call(call) => Some(Arc::clone(call.shared())),
            Source::Select(inner) => inner.shared(),
            Source::Latch(latch) => Some(Arc::clone(latch.shared())),
            Source::Failed(_) => None,
        })
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<MemberId, Source>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self) -> MutexGuard<'_, Weak<Self>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.members().values().for_each(Source::let_go);
    }
}

impl Source {
    /// Clears the link from the member to its select, after it was removed.
    fn let_go(&self) {
        match self {
            Self::Receiver(inner) => inner.fair_queue().clear_hook(),
            Self::Select(inner) => {
                inner.ready.clear_hook();
                *inner.owner() = Weak::new();
            }
            Self::Latch(latch) => latch.clear_hook(),
            // When its bell rings, the select does not find the member and ignores it.
            Self::Call(_) | Self::Failed(_) => {}
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Receiver(inner) => inner.fair_queue().len(),
            Self::Select(inner) => inner.waiting(),
            Self::Latch(latch) => latch.waiting(),
            Self::Call(call) => usize::from(call.has_ended()),
            Self::Failed(_) => 1,
        }
    }
}

pub(super) fn late(after: Duration) -> Error {
    Error::Timeout { after, what: "select".into() }
}
