//! Contexts: they call functions in other processes.

use std::any::type_name;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
#[cfg(feature = "cli")]
use tokio::sync::oneshot;

#[cfg(feature = "cli")]
use crate::api::call::Convert;
use crate::api::call::{Call, RawCall};
use crate::api::function::{Function, Table};
use crate::api::router::WeakRouter;
use crate::engine::broker::Broker;
use crate::engine::shared::{Request, Shared};
use crate::engine::stats::Stats;
use crate::sys::blocking::block_on;
use crate::sys::deadline::deadline;
use crate::wire::call_payload;
use crate::wire::codec::{self, Origin};
use crate::wire::error::Error;
use crate::wire::error::builtin_words::shown;
use crate::wire::message::{ContextId, Handle, Lane, Message};
use crate::wire::sanitize::printable;

/// Maximum size of the reply to STATS, in bytes. Each list in it has few entries.
const MAX_STATS: usize = 1024 * 1024;

/// A process in the tree, as this process refers to it.
///
/// Cloning is cheap. Dropping it does not end the process. It can be an argument or a result of a call.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use offshoot::{Context, Econtext, Error, Router, export};
///
/// /// Calls a function in another context, and returns its result to the caller.
/// async fn ask(other: Context) -> Result<u32, Error> {
///     other.call(who, ()).await
/// }
/// async fn who(econtext: &Econtext) -> u32 {
///     econtext.myself().id().0
/// }
/// fn sleep(time: Duration) {
///     std::thread::sleep(time);
/// }
/// export!(ask, who, sleep);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let below = router.local().via(&child).blocking_connect()?;
///     assert_eq!(child.blocking_call(ask, (below.clone(),))?, below.id().0);
///     // A call that takes too long ends with an error when its time limit is reached.
///     let (begun, limit) = (Instant::now(), Duration::from_millis(50));
///     let error = below.timeout(limit).blocking_call(sleep, (Duration::from_secs(2),)).unwrap_err();
///     assert!(matches!(error, Error::Timeout { .. }) && begun.elapsed() >= limit);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    id: ContextId,
    name: Arc<str>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>, id: ContextId, name: &str) -> Self {
        Self { shared, id, name: name.into() }
    }

    /// The context with this id, with its name if the router knows it.
    pub(crate) fn known(shared: Arc<Shared>, id: ContextId) -> Self {
        let name = shared.directory().name(id).unwrap_or_else(|| format!("context {id}").into());
        Self { shared, id, name }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The number that identifies the context in its tree.
    #[doc(alias = "context_id")]
    pub fn id(&self) -> ContextId {
        self.id
    }

    /// The name of the context, for example `ssh.web1` or `ssh.web1.local.4711`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The router that the context belongs to: the one that has made it, or has received it in a message. The
    /// context does not keep that router alive.
    ///
    /// ```
    /// use offshoot::{Context, Error, Router, export};
    ///
    /// /// Needs no router of its own.
    /// fn start_below(parent: &Context) -> Result<Context, Error> {
    ///     let router = parent.router().upgrade().ok_or_else(|| Error::Misuse("the router has ended".into()))?;
    ///     router.local().via(parent).blocking_connect()
    /// }
    ///
    /// fn main() -> Result<(), Error> {
    ///     offshoot::child();
    ///     let router = Router::new()?;
    ///     let child = router.local().blocking_connect()?;
    ///     let below = start_below(&child)?;
    ///     assert_eq!((below.via(), child.via()), (Some(child.clone()), None));
    ///     router.blocking_shutdown();
    ///     Ok(())
    /// }
    /// ```
    pub fn router(&self) -> WeakRouter {
        WeakRouter::of(&self.shared)
    }

    /// The context that has started this one for this process, by
    /// [`Connect::via`](crate::connect::Connect::via) or as a hop of a path. `None` for children of this
    /// context, for contexts that another process has started, and for those that have gone.
    ///
    /// [`Context::router`] has an example.
    pub fn via(&self) -> Option<Self> {
        let via = self.shared.directory().via(self.id)?;
        Some(Self::known(Arc::clone(&self.shared), via))
    }

    /// How the process of this child has ended. It is the process that this context has started, so for `ssh`
    /// it is the ssh client. `None` if it has not ended, or if another context has started it. It is known
    /// when a call fails because the context has gone and when [`Context::closed`] is ready, unless the
    /// process still runs half a second after its link has ended. The last 1024 children are remembered.
    ///
    /// ```
    /// use offshoot::{Error, Router, export};
    ///
    /// fn exit(code: i32) {
    ///     std::process::exit(code);
    /// }
    /// export!(exit);
    ///
    /// fn main() -> Result<(), Error> {
    ///     offshoot::child();
    ///     let router = Router::new()?;
    ///     let child = router.local().blocking_connect()?;
    ///     let error = child.blocking_call(exit, (3,)).unwrap_err();
    ///     assert!(error.is_disconnected() && error.to_string().ends_with("its process exited with return code 3"));
    ///     assert_eq!(child.exit_status().and_then(|status| status.code()), Some(3));
    ///     router.blocking_shutdown();
    ///     Ok(())
    /// }
    /// ```
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.shared.directory().status(self.id).map(ExitStatus::from_raw)
    }

    /// Calls `function` in the context. The call is sent immediately, in the order of the calls. Await the
    /// returned future to get the result. Dropping it cancels the call, but a blocking function that runs already
    /// runs to its end: see [`Call`].
    ///
    /// All functions of a context, plain or async, run one at a time, in the order of their calls, unless they
    /// are exported as `concurrent`. So an async function that waits, for example for the next value of a
    /// [`Channel`](crate::Channel), holds up every later call. If a function calls back into a context that
    /// waits for this function, both wait forever: a deadlock.
    ///
    /// # Errors
    ///
    /// The future ends with:
    ///
    /// - [`Error::Call`] if the function failed or panicked
    /// - [`Error::Channel`] if the context cannot be reached, has gone, or refuses the call
    /// - [`Error::NotExported`] if the function is not in the function table of this program or of the other
    ///   one
    /// - [`Error::Payload`] or [`Error::TooLarge`] if the arguments or the result cannot be sent
    #[doc(alias = "call_async")]
    pub fn call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Call<F::Ok> {
        self.start(function, &args, None)
    }

    /// [`Context::call`] for code that is not async: blocks until the answer arrives.
    ///
    /// # Errors
    ///
    /// As [`Context::call`].
    pub fn blocking_call<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<F::Ok, Error> {
        block_on(self.call(function, args))
    }

    /// Calls `function` in the context and requests no answer. The called context logs a failure. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// The errors that are known before the call is sent: [`Error::NotExported`], [`Error::Payload`],
    /// [`Error::TooLarge`], and [`Error::Channel`] if the router has ended.
    pub fn call_no_reply<F: Function<K>, K>(&self, function: F, args: F::Args) -> Result<(), Error> {
        self.start_no_reply(function, &args, None)
    }

    /// Requests the state of the context: counters, links, calls, queues. The context answers even while its
    /// functions block. Dropping the future only ends the wait.
    ///
    /// ```
    /// # use offshoot::{Error, Router};
    /// # fn main() -> Result<(), Error> {
    /// # offshoot::child();
    /// # let router = Router::new()?;
    /// let child = router.local().blocking_connect()?;
    /// let stats = child.stats().blocking_recv()?;
    /// assert_eq!((stats.context, stats.links), (child.id(), 1));
    /// println!("{stats}"); // a line for each link, call and queue
    /// # router.blocking_shutdown();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The future ends with [`Error::Channel`] if the context cannot be reached or has gone, or if this
    /// context is not above it.
    pub fn stats(&self) -> Call<Stats> {
        self.ask_stats(None)
    }

    pub(crate) fn ask_stats(&self, timeout: Option<Duration>) -> Call<Stats> {
        let message = Message { lane: Lane::Control, ..Message::new(self.id, Handle::STATS, Vec::new()) };
        Call::from_raw(RawCall::start(self, "STATS", Ok(message), timeout)).at_most(MAX_STATS)
    }

    /// Stops reading from the link to this child, until [`Context::resume`] is called or the child is ordered
    /// to end. This also stops the messages of all contexts behind the child. Has no effect on contexts that
    /// are not children of this one. Does not block.
    ///
    /// Flow control slows down the child and the contexts behind it, as with any slow reader. While the link
    /// is not read, the end of the child is not noticed.
    pub fn pause(&self) {
        self.shared.request(Request::Read { context: self.id, on: false });
    }

    /// Resumes reading after [`Context::pause`]. Does not block.
    pub fn resume(&self) {
        self.shared.request(Request::Read { context: self.id, on: true });
    }

    /// The last lines that the launcher of this context, for example ssh, wrote to its stderr. They are known
    /// only if the context was lost. There are few, and they are safe to print. Those of a context that another one has
    /// started are known only to a router that [has them sent](crate::router::RouterBuilder). `None`
    /// if it was not lost.
    #[cfg(feature = "cli")]
    pub(crate) async fn last_words(&self) -> Option<Vec<String>> {
        let (to, words) = oneshot::channel();
        let (id, name) = (self.id, Arc::clone(&self.name));
        self.shared.request(Request::Do(Box::new(move |io| io.neighbours().tell_last_words(io, id, &name, to))));
        words.await.ok()
    }

    /// Starts a call that belongs to no chain.
    pub(crate) fn start<F: Function<K>, K>(&self, _: F, args: &F::Args, timeout: Option<Duration>) -> Call<F::Ok> {
        self.start_encoded::<F, K>(self.call_message::<F, K>(args, 0, Handle::NONE), timeout)
    }

    /// Starts a call, unless its encoding has failed.
    pub(crate) fn start_encoded<F: Function<K>, K>(
        &self,
        message: Result<Message, Error>,
        timeout: Option<Duration>,
    ) -> Call<F::Ok> {
        Call::from_raw(RawCall::start(self, type_name::<F>(), message, timeout))
    }

    /// Starts a call whose message is already encoded. `convert` converts the result to the value that the
    /// caller gets.
    #[cfg(feature = "cli")]
    pub(crate) fn start_converted(
        &self,
        function: &'static str,
        message: Result<Message, Error>,
        timeout: Option<Duration>,
        convert: Convert,
    ) -> Call<String> {
        Call::converted(RawCall::start(self, function, message, timeout), convert)
    }

    /// Makes a call that nobody waits for, and that belongs to no chain.
    pub(crate) fn start_no_reply<F: Function<K>, K>(
        &self,
        _: F,
        args: &F::Args,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.queue_no_reply(self.call_message::<F, K>(args, 0, Handle::NONE)?, timeout)
    }

    pub(crate) fn queue_no_reply(&self, mut message: Message, timeout: Option<Duration>) -> Result<(), Error> {
        message.deadline = timeout.map(deadline);
        self.queue(Request::SendMetered { message, accepted: None })
    }

    /// Encodes a call. `chain` is the number of the chain that the call belongs to; 0 if it belongs to none.
    /// `values` is the handle of the caller to which the function sends values before it ends, or [`Handle::NONE`].
    pub(crate) fn call_message<F: Function<K>, K>(
        &self,
        args: &F::Args,
        chain: u32,
        values: Handle,
    ) -> Result<Message, Error> {
        const {
            assert!(
                size_of::<F>() == 0,
                "only plain functions can be called, no closures and no fn pointers: write a `fn` and `offshoot::export!` it, and pass values as arguments"
            );
        };
        let function = type_name::<F>();
        if Table::get().find(function).is_none() {
            return Err(Error::NotExported { function: function.to_owned(), context: self.shared.name.clone() });
        }
        let data = call_payload::encode_call(function, args, chain, values)
            .map_err(|why| Error::Payload(format!("the arguments of {} cannot be sent: {why}", shown(function))))?;
        Ok(Message { secret: codec::held_secret(), ..self.message_of(data)? })
    }

    /// Wraps an encoded call in a message to this context.
    pub(crate) fn message_of(&self, data: Bytes) -> Result<Message, Error> {
        let (size, max) = (data.len() as u64, self.shared.max_message_size);
        if size > max {
            return Err(Error::TooLarge { size, max, context: self.shared.name.clone() });
        }
        Ok(Message::new(self.id, Handle::CALL_FUNCTION, data))
    }

    pub(crate) fn queue(&self, request: Request) -> Result<(), Error> {
        if self.shared.request(request) { Ok(()) } else { Err(Error::router_ended(self.shared.me)) }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}, {:?})", self.id, self.name)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Context {}

impl Hash for Context {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Broker {
    /// Stops reading from the link to a child, until [`Broker::start_receive`] is called or the child is
    /// ordered to end. This also stops the messages of all contexts behind the child. Has no effect on
    /// contexts that are not children of this one. Does not block.
    ///
    /// Flow control slows down the child and the contexts behind it, as with any slow reader. While the link
    /// is not read, the end of the child is not noticed.
    pub fn stop_receive(&self, child: &Context) {
        child.shared().request(Request::Read { context: child.id(), on: false });
    }

    /// Resumes reading after [`Broker::stop_receive`]. Does not block.
    pub fn start_receive(&self, child: &Context) {
        child.shared().request(Request::Read { context: child.id(), on: true });
    }
}

impl Message {
    /// The context that sent the message; `None` if the message was not received from a context.
    ///
    /// ```
    /// use offshoot::{Error, Message, Receiver, Router};
    ///
    /// fn main() -> Result<(), Error> {
    ///     offshoot::child();
    ///     let router = Router::new()?;
    ///     let receiver: Receiver<u8> = Receiver::new(&router);
    ///     receiver.sender().blocking_send(1)?;
    ///     assert_eq!(receiver.blocking_recv_message()?.source(), Some(router.myself()));
    ///     assert_eq!(Message::default().source(), None);
    ///     router.blocking_shutdown();
    ///     Ok(())
    /// }
    /// ```
    pub fn source(&self) -> Option<Context> {
        let port = Arc::clone(self.arrival.0.as_ref()?);
        let shared: Arc<Shared> = port.into_any().downcast().ok()?;
        Some(Context::known(shared, self.src))
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id, &*self.name).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, name) = <(ContextId, String)>::deserialize(deserializer)?;
        let shared = codec::current_origin()
            .and_then(Origin::shared)
            .ok_or_else(|| serde::de::Error::custom("a Context can be decoded only from a message"))?;
        Ok(Self::new(shared, id, &printable(&name)))
    }
}
