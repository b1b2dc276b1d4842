//! Waiting for several receivers and calls at once.

mod core;

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::de::DeserializeOwned;

use self::core::{Core, Item, Source, Value, late};
use crate::api::call::Call;
use crate::api::channel::Channel;
use crate::api::latch::Latch;
use crate::api::receiver::Receiver;
use crate::sys::blocking::block_on;
use crate::sys::blocking::block_until;
use crate::sys::deadline::deadline;
use crate::wire::error::Error;

/// Waits for several receivers, calls, [latches](crate::select::Latch) and other selects at once, and returns
/// their values in the order of arrival.
///
/// All members have values of the same type; for members of different types, use `tokio::select!`. A receiver,
/// latch or select belongs to at most one select at a time. Cloning is cheap, and clones are the same select. Each
/// value goes to one waiting task or thread: the one that has waited longest. Every function can be called
/// from any thread, with or without an executor.
///
/// When the last clone is dropped, the members are dropped too, and calls among them are cancelled.
///
/// ```
/// use offshoot::{Error, Receiver, Router, Select, Sender, export};
///
/// fn work(progress: Sender<u32>, number: u32) -> Result<u32, Error> {
///     progress.blocking_send(number)?;
///     Ok(100 * number)
/// }
/// export!(work);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let progress: Receiver<u32> = Receiver::new(&router);
///     let calls = Select::new(); // a call is a member until it has ended
///     for number in 1..=3 {
///         calls.add(child.call(work, (progress.sender(), number)))?;
///     }
///     let both = Select::new().oneshot(false);
///     let progress = both.add(progress)?;
///     both.add(&calls)?;
///     let (mut begun, mut ended) = (0, 0);
///     while begun < 3 || ended < 3 {
///         match both.blocking_recv()? {
///             (from, _) if from == progress => begun += 1,
///             (_, result) => ended += result / result,
///         }
///     }
///     assert!(calls.is_empty());
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub struct Select<T> {
    core: Arc<Core>,
    of: PhantomData<fn() -> T>,
}

/// Identifies a member of a [`Select`]. It is unique in the process.
///
/// [`Select`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

/// The types that can be members of a [`Select`].
///
/// [`Select`] has an example.
#[derive(Debug)]
#[non_exhaustive]
pub enum Member<T> {
    /// A receiver.
    Receiver(Receiver<T>),
    /// A call. It stops being a member when it has ended.
    Call(Call<T>),
    /// Another select.
    Select(Select<T>),
    /// A latch: values of this process.
    Latch(Latch<T>),
    /// A member that could not be added when the select was collected, with the reason.
    Failed(Error),
}

/// A value that a select has received, and its origin.
///
/// ```
/// use offshoot::{Receiver, Router, Select};
///
/// # offshoot::child();
/// let router = Router::new()?;
/// let numbers = Receiver::<u32>::new(&router);
/// let select = Select::new().oneshot(false);
/// let member = select.add(&numbers)?;
/// numbers.sender().blocking_send(7)?;
/// let event = select.blocking_recv_event()?;
/// assert_eq!((event.member, event.source, event.value?), (member, member, 7));
/// # router.blocking_shutdown();
/// # Ok::<(), offshoot::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<T> {
    /// The member of the select on which [`Select::recv_event`] was called.
    pub member: MemberId,
    /// The receiver or call that the value comes from. If `member` is a nested select, this is a member of
    /// that select.
    pub source: MemberId,
    /// The value, or the error of the member.
    pub value: Result<T, Error>,
}

impl<T> From<Receiver<T>> for Member<T> {
    fn from(receiver: Receiver<T>) -> Self {
        Self::Receiver(receiver)
    }
}

impl<T> From<&Receiver<T>> for Member<T> {
    fn from(receiver: &Receiver<T>) -> Self {
        Self::Receiver(receiver.clone())
    }
}

impl<In, Out> From<&Channel<In, Out>> for Member<In> {
    fn from(channel: &Channel<In, Out>) -> Self {
        Self::Receiver(channel.receiver().clone())
    }
}

impl<T> From<Call<T>> for Member<T> {
    fn from(call: Call<T>) -> Self {
        Self::Call(call)
    }
}

impl<T> From<Select<T>> for Member<T> {
    fn from(select: Select<T>) -> Self {
        Self::Select(select)
    }
}

impl<T> From<&Select<T>> for Member<T> {
    fn from(select: &Select<T>) -> Self {
        Self::Select(select.clone())
    }
}

impl<T> From<Latch<T>> for Member<T> {
    fn from(latch: Latch<T>) -> Self {
        Self::Latch(latch)
    }
}

impl<T> From<&Latch<T>> for Member<T> {
    fn from(latch: &Latch<T>) -> Self {
        Self::Latch(latch.clone())
    }
}

impl<T> Member<T> {
    fn into_source(self) -> Source {
        match self {
            Self::Receiver(receiver) => Source::Receiver(receiver.inner),
            Self::Call(call) => Source::Call(call.inner),
            Self::Select(select) => Source::Select(select.core),
            Self::Latch(latch) => Source::Latch(latch.member()),
            Self::Failed(error) => Source::Failed(error),
        }
    }

    fn from_source(source: Source) -> Self
    where
        T: 'static,
    {
        match source {
            Source::Receiver(inner) => Self::Receiver(Receiver::from_inner(inner)),
            Source::Call(inner) => Self::Call(Call::from_raw(inner)),
            Source::Select(core) => Self::Select(Select::from_core(core)),
            Source::Latch(latch) => Latch::of_member(latch).map_or_else(|| Self::Failed(wrong_type()), Self::Latch),
            Source::Failed(error) => Self::Failed(error),
        }
    }
}

impl<T> Clone for Select<T> {
    fn clone(&self) -> Self {
        Self::from_core(Arc::clone(&self.core))
    }
}

impl<T> Default for Select<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Collects members into a select. If a member cannot be added, because it is a member of another select, the
/// select returns its error ([`Error::Select`]) instead of a value.
impl<T, M: Into<Member<T>>> FromIterator<M> for Select<T> {
    fn from_iter<I: IntoIterator<Item = M>>(members: I) -> Self {
        let select = Self::new();
        for member in members {
            if let Err(error) = select.add(member) {
                select.core.add_failed(error);
            }
        }
        select
    }
}

impl<T> fmt::Debug for Select<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("members", &self.core.count()).finish_non_exhaustive()
    }
}

impl<T> Select<T> {
    /// Creates a select without members.
    pub fn new() -> Self {
        Self::from_core(Arc::default())
    }

    fn from_core(core: Arc<Core>) -> Self {
        Self { core, of: PhantomData }
    }

    /// Whether a member leaves the select after it has given one value. Calls always leave. Default: true.
    #[must_use]
    pub fn oneshot(self, on: bool) -> Self {
        self.core.set_oneshot(on);
        self
    }

    /// Adds a member: a receiver, a call, a latch, another select, or a reference to a receiver, latch or
    /// select. Values that already wait in the member are received, too. Does not block.
    ///
    /// # Errors
    ///
    /// - [`Error::Select`] if the member already belongs to a select, has a
    ///   [`notify`](crate::channel::ReceiverBuilder::notify) function, or would make a select a member of
    ///   itself
    /// - [`Error::Closed`] if this select was closed
    ///
    /// A call that is refused is cancelled.
    pub fn add(&self, member: impl Into<Member<T>>) -> Result<MemberId, Error> {
        self.core.add(member.into().into_source())
    }

    /// Removes a member and returns it, with the values that wait in it. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Select`] if `member` is not a member of this select.
    pub fn remove(&self, member: MemberId) -> Result<Member<T>, Error>
    where
        T: 'static,
    {
        self.core.remove(member).map(Member::from_source)
    }

    /// Removes and drops all members, which cancels calls among them. Receive operations that already wait
    /// return [`Error::Closed`]. Later ones return [`Error::Select`], as for any select without members. Does
    /// not block.
    pub fn close(&self) {
        self.core.close();
    }

    /// Whether the select has no members.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Number of members. Members of a nested select are not counted.
    pub fn members(&self) -> usize {
        self.core.count()
    }

    /// Number of values that wait in the members, including nested ones, at the moment of the call.
    #[doc(alias = "size")]
    #[doc(alias = "empty")]
    pub fn waiting(&self) -> usize {
        self.core.waiting()
    }
}

impl<T: DeserializeOwned + 'static> Select<T> {
    /// Returns the next value, and the receiver or call that it comes from. Cancel safe.
    /// Code that is not async uses [`Select::blocking_recv`].
    ///
    /// # Errors
    ///
    /// - The error of a member: [`Error::Call`], [`Error::Channel`] and so on, as
    ///   [`Context::call`](crate::Context::call) and [`Receiver::recv`]. [`Select::recv_event`] also returns
    ///   which member it is.
    /// - [`Error::Select`] if the select has no members
    /// - [`Error::Closed`] if this select was closed during the wait
    #[doc(alias = "get")]
    pub async fn recv(&self) -> Result<(MemberId, T), Error> {
        plain(self.core.recv().await?)
    }

    /// [`Select::recv`] for code that is not async: blocks until a value arrives.
    ///
    /// # Errors
    ///
    /// As [`Select::recv`].
    pub fn blocking_recv(&self) -> Result<(MemberId, T), Error> {
        plain(block_on(self.core.recv())?)
    }

    /// As [`Select::recv`], but waits for at most `limit`. After a timeout the select is unchanged and can be
    /// used again. Cancel safe. Code that is not async uses [`Select::blocking_recv_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Select::recv`], and [`Error::Timeout`].
    pub async fn recv_timeout(&self, limit: Duration) -> Result<(MemberId, T), Error> {
        plain(self.core.recv_timeout(limit).await?)
    }

    /// [`Select::recv_timeout`] for code that is not async: blocks for at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Select::recv_timeout`].
    pub fn blocking_recv_timeout(&self, limit: Duration) -> Result<(MemberId, T), Error> {
        let item = block_until(self.core.recv(), deadline(limit));
        plain(item.unwrap_or_else(|| Err(late(limit)))?)
    }

    /// As [`Select::recv`], but returns `None` if no value waits. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Select::recv`].
    pub fn try_recv(&self) -> Result<Option<(MemberId, T)>, Error> {
        self.core.try_recv()?.map(plain).transpose()
    }

    /// As [`Select::recv`], but returns the member also if it has failed. Cancel safe.
    /// Code that is not async uses [`Select::blocking_recv_event`].
    ///
    /// # Errors
    ///
    /// [`Error::Select`] and [`Error::Closed`] as [`Select::recv`]. The error of a member is in the event.
    #[doc(alias = "get_event")]
    pub async fn recv_event(&self) -> Result<Event<T>, Error> {
        self.core.recv().await.map(event)
    }

    /// [`Select::recv_event`] for code that is not async: blocks until an event arrives.
    ///
    /// # Errors
    ///
    /// As [`Select::recv_event`].
    pub fn blocking_recv_event(&self) -> Result<Event<T>, Error> {
        block_on(self.core.recv()).map(event)
    }

    /// As [`Select::recv_event`], but waits for at most `limit`. After a timeout the select is unchanged and can be
    /// used again. Cancel safe. Code that is not async uses [`Select::blocking_recv_event_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Select::recv_event`], and [`Error::Timeout`].
    pub async fn recv_event_timeout(&self, limit: Duration) -> Result<Event<T>, Error> {
        self.core.recv_timeout(limit).await.map(event)
    }

    /// [`Select::recv_event_timeout`] for code that is not async: blocks for at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Select::recv_event_timeout`].
    pub fn blocking_recv_event_timeout(&self, limit: Duration) -> Result<Event<T>, Error> {
        let item = block_until(self.core.recv(), deadline(limit));
        item.unwrap_or_else(|| Err(late(limit))).map(event)
    }

    /// As [`Select::recv_event`], but returns `None` if nothing waits. Does not block.
    ///
    /// # Errors
    ///
    /// As [`Select::recv_event`].
    pub fn try_recv_event(&self) -> Result<Option<Event<T>>, Error> {
        Ok(self.core.try_recv()?.map(event))
    }

    /// Iterates over the values and errors of the members, and ends when no member is left. Blocks for each
    /// item. For async code, the select itself is a [`Stream`] of the same items.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Returns one value of each member, in the order of arrival. The first error ends the wait, and cancels
    /// the calls that have not ended. Dropping the future drops the members.
    /// Code that is not async uses [`Select::blocking_all`].
    ///
    /// # Errors
    ///
    /// As [`Select::recv`].
    pub async fn all<M: Into<Member<T>>>(members: impl IntoIterator<Item = M>) -> Result<Vec<T>, Error> {
        let select = Self::new();
        members.into_iter().try_for_each(|member| select.add(member).map(drop))?;
        let mut values = Vec::with_capacity(select.members());
        while !select.is_empty() {
            values.push(select.recv().await?.1);
        }
        Ok(values)
    }

    /// [`Select::all`] for code that is not async: blocks until all values have arrived.
    ///
    /// # Errors
    ///
    /// As [`Select::all`].
    pub fn blocking_all<M: Into<Member<T>>>(members: impl IntoIterator<Item = M>) -> Result<Vec<T>, Error> {
        block_on(Self::all(members))
    }
}

/// An iterator over the values of a select, which blocks.
///
/// ```
/// # offshoot::child();
/// # let router = offshoot::Router::new()?;
/// let select = offshoot::Select::new();
/// for number in [1, 2] {
///     let numbers = offshoot::Receiver::<u32>::new(&router);
///     numbers.sender().blocking_send(number)?;
///     select.add(numbers)?;
/// }
/// let sum: u32 = select.iter().map(|item| Ok(item?.1)).sum::<Result<u32, offshoot::Error>>()?;
/// assert_eq!(sum, 3);
/// # router.blocking_shutdown();
/// # Ok::<(), offshoot::Error>(())
/// ```
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Select<T>);

impl<T: DeserializeOwned + 'static> Iterator for Iter<'_, T> {
    type Item = Result<(MemberId, T), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        block_on(poll_fn(|cx| self.0.core.poll_next(cx))).map(plain)
    }
}

impl<'a, T: DeserializeOwned + 'static> IntoIterator for &'a Select<T> {
    type Item = Result<(MemberId, T), Error>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Ends when no member is left. An error of a member is an item.
impl<T: DeserializeOwned + 'static> Stream for Select<T> {
    type Item = Result<(MemberId, T), Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.core.poll_next(cx).map(|item| item.map(plain))
    }
}

fn plain<T: DeserializeOwned + 'static>(item: Item) -> Result<(MemberId, T), Error> {
    let Event { source, value, .. } = event(item);
    Ok((source, value?))
}

fn event<T: DeserializeOwned + 'static>(item: Item) -> Event<T> {
    let value = item.value.and_then(|value| match value {
        Value::Message(message) => message.decode(),
        Value::Result(call, value) => call.decode(&value),
        Value::Local(value) => value.downcast().map(|value| *value).map_err(|_| wrong_type()),
    });
    Event { member: item.member, source: item.source, value }
}

/// Cannot happen: all members of a select have values of its type.
fn wrong_type() -> Error {
    Error::Select("the value of a Latch has another type than its Select".into())
}
