//! The neighbours of this context, and the contexts behind them: how they come, and what follows when they go.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::engine::io::{Io, Timer};
use crate::engine::last_words::LastWords;
use crate::engine::link;
use crate::engine::links::Fault;
use crate::engine::log::log_later;
#[cfg(feature = "cli")]
use crate::engine::task_set;
use crate::routing::table::{Gone, LinkId};
use crate::sys::hash::HashMap;
use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::process::Launched;
use crate::wire::error::{ConnectError, ConnectErrorKind, DeadReason, Error, Phase};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// Time that children have to end when the link to the parent has ended.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// A child that has had its time to end is given this much more before it is
/// killed, since it learnt later that it was to end.
const KILL_DELAY: Duration = Duration::from_millis(500);
/// A launcher whose connection was lost has this long to say why.
#[cfg(feature = "cli")]
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A neighbour that is to be attached.
pub(crate) struct Neighbour<'a> {
    pub(crate) context: ContextId,
    pub(crate) name: &'a str,
    /// What comes from it acts under this authority, if there is one.
    pub(crate) authority: Option<ContextId>,
    pub(crate) stream: Stream,
    /// What was read behind the handshake.
    pub(crate) rest: Vec<u8>,
    /// The process behind it, if this context has started it, and what that says last.
    pub(crate) process: Option<(Launched, Rc<LastWords>)>,
}

/// The neighbours, and who waits for the end of a context.
#[derive(Default)]
pub(crate) struct Neighbours {
    watchers: RefCell<HashMap<ContextId, Vec<oneshot::Sender<()>>>>,
    /// Rung when a link has ended.
    link_gone: Notify,
    parent_gone: Cell<bool>,
}

impl Neighbours {
    pub(super) fn attach_parent(&self, io: &Rc<Io>, stream: Stream) {
        let Some(parent) = io.shared.parent() else {
            return;
        };
        let (link, closed) = io.with_links(|links| links.open(None, None));
        io.with_routing(|routing| routing.add_parent(link, parent));
        link::start(io, link, closed, stream, Vec::new());
    }

    /// Attaches a child that has said hello, or another neighbour on the far side of the parent, and announces it
    /// upstream.
    pub(crate) fn attach(&self, io: &Rc<Io>, neighbour: Neighbour<'_>) {
        let Neighbour { context, name, authority, stream, rest, process } = neighbour;
        let (process, last_words) = process.unzip();
        let (link, closed) = io.with_links(|links| links.open(process, last_words));
        io.with_routing(|routing| routing.add_child(link, context, name.to_owned(), authority));
        if let Some(parent) = io.shared.parent() {
            io.send(add_route(parent, context, name));
        }
        link::start(io, link, closed, stream, rest);
    }

    /// Attaches a context that speaks frames on `stream` already, and
    /// announces it upstream.
    pub(crate) fn register(
        &self,
        io: &Rc<Io>,
        context: ContextId,
        name: &str,
        stream: OwnedFd,
        authority: Option<ContextId>,
    ) -> Result<(), Error> {
        let refuse = |why: String| ConnectError::new(ConnectErrorKind::Start, Phase::Start, name, why);
        if context == io.shared.me || io.with_routing(|routing| routing.link_to(context)).is_some() {
            return Err(refuse(format!("context {context} is attached already")).into());
        }
        let open = |stream: OwnedFd| {
            let input = Input::new(stream.try_clone()?)?;
            Ok::<_, std::io::Error>(Stream { input, output: Output::new(stream)? })
        };
        let stream = open(stream).map_err(|error| refuse(format!("the stream cannot be watched: {error}")))?;
        self.attach(io, Neighbour { context, name, authority, stream, rest: Vec::new(), process: None });
        Ok(())
    }

    /// The neighbour by which a message to `target` leaves, and its name.
    pub(crate) fn on_the_way_to(&self, io: &Io, target: ContextId) -> Option<(ContextId, String)> {
        io.with_routing(|routing| {
            let neighbour = routing.remote(routing.out(target).filter(|_| target != io.shared.me)?);
            let name = routing.name(neighbour).map_or_else(|| format!("context {neighbour}"), str::to_owned);
            Some((neighbour, name))
        })
    }

    /// Has messages to `target` leave by the neighbour `via`.
    pub(crate) fn add_route(&self, io: &Io, target: ContextId, via: ContextId) -> Result<(), Error> {
        let me = io.shared.me;
        let refuse = |reason: String| DeadReason::refused(reason).at(me);
        io.with_routing(|routing| {
            let link = routing.link_of(via);
            let link = link.ok_or_else(|| refuse(format!("context {via} is no neighbour of {me}")))?;
            routing.set_out(link, target).map_err(refuse)
        })
    }

    pub(crate) fn del_route(&self, io: &Rc<Io>, target: ContextId) {
        let gone = io.with_routing(|routing| {
            let link = routing.link_to(target)?;
            routing.del_route(link, target)
        });
        if let Some(gone) = gone {
            self.contexts_gone(io, &gone);
        }
    }

    /// Has all that comes from a neighbour act under this authority.
    pub(crate) fn stamp(&self, io: &Io, neighbour: ContextId, authority: Option<ContextId>) {
        io.with_routing(|routing| {
            if let Some(link) = routing.link_of(neighbour) {
                routing.stamp(link, authority);
            }
        });
    }

    /// A neighbour announces a context behind it.
    pub(super) fn on_add_route(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let (Some(from), Some((target, name))) = (from, message.data.split_at_checked(4)) else {
            return;
        };
        let target = ContextId(Buf::get_u32(&mut &target[..]));
        let name = String::from_utf8_lossy(name);
        let added = io.with_routing(|routing| routing.add_route(from, target, &name));
        match added {
            Ok(()) => {
                if let Some(parent) = io.shared.parent() {
                    // The name by which this context knows it, which begins with that of the neighbour.
                    let name = io.with_routing(|routing| routing.name(target).unwrap_or_default().to_owned());
                    io.send(add_route(parent, target, &name));
                }
            }
            Err(why) if io.may_complain(Some(from), Fault::Route) => log_later!(io, ERROR, "{why}: ignored"),
            Err(_) => {}
        }
    }

    /// A neighbour says that a context behind it has gone.
    pub(super) fn on_del_route(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let (Some(from), Ok(target)) = (from, <[u8; 4]>::try_from(&message.data[..])) else {
            return;
        };
        let target = ContextId(u32::from_be_bytes(target));
        let gone = io.with_routing(|routing| routing.del_route(from, target));
        if let Some(gone) = gone {
            self.contexts_gone(io, &gone);
        }
    }

    /// Tells what the launcher of a child that was lost has said last.
    #[cfg(feature = "cli")]
    pub(crate) fn tell_last_words(&self, io: &Io, child: ContextId, to: oneshot::Sender<Vec<String>>) {
        let Some(words) = io.with_links(|links| links.last_words(child)) else { return };
        task_set::spawn(async move {
            let _ = tokio::time::timeout(LAST_WORDS, words.ended.cancelled()).await;
            let _ = to.send(words.lines());
        });
    }

    /// Tells `gone` when the context has gone; at once if no route leads to it.
    pub(super) fn watch(&self, io: &Io, context: ContextId, gone: oneshot::Sender<()>) {
        if io.with_routing(|routing| routing.link_to(context)).is_some() {
            self.watchers.borrow_mut().entry(context).or_default().push(gone);
        }
    }

    /// Forgets those who watch, and so tells them.
    pub(super) fn drop_watchers(&self) {
        self.watchers.take();
    }

    /// Waits until any link has ended.
    pub(crate) fn link_gone(&self) -> Notified<'_> {
        self.link_gone.notified()
    }

    /// Whether the link to the parent has ended.
    pub(super) fn parent_gone(&self) -> bool {
        self.parent_gone.get()
    }

    /// The link to a direct child.
    pub(super) fn child_link(&self, io: &Io, context: ContextId) -> Option<LinkId> {
        io.with_routing(|routing| routing.link_to(context).filter(|link| routing.remote(*link) == context))
    }

    /// Cuts the link to a child.
    pub(super) fn disconnect(&self, io: &Rc<Io>, context: ContextId) {
        if let Some(link) = self.child_link(io, context) {
            self.lost(io, link, None);
        }
    }

    /// Has the link to a child read, or not read, from now on.
    pub(super) fn read(&self, io: &Io, context: ContextId, on: bool) {
        if let Some(link) = self.child_link(io, context) {
            io.with_links(|links| links.read(link, on));
        }
    }

    /// Orders a context, and so everything behind it, to end.
    pub(super) fn order_shutdown(&self, io: &Rc<Io>, context: ContextId) {
        if let Some(link) = self.child_link(io, context)
            && io.with_links(|links| links.order_to_end(link))
        {
            io.set_timer(Instant::now() + io.thread().child_grace() + KILL_DELAY, Timer::Kill(link));
        }
        let order = Message { lane: Lane::Control, ..Message::new(context, Handle::SHUTDOWN, Bytes::new()) };
        io.send(order);
    }

    /// A link has ended, for the reason given if it was not a clean end.
    pub(crate) fn lost(&self, io: &Rc<Io>, link: LinkId, why: Option<&str>) {
        let child = io.with_routing(|routing| routing.remote(link));
        let Some(closed) = io.with_links(|links| links.close(link, child)) else {
            return;
        };
        // What a context prints that was told to end, or another one behind it, does no harm.
        if let Some(why) = why.filter(|_| !closed.told_to_end) {
            log_later!(io, WARN, "link to context {child} lost: {why}");
        }
        let (was_parent, gone) = io.with_routing(|routing| (routing.parent() == Some(link), routing.del_link(link)));
        if was_parent {
            self.parent_gone.set(true);
        }
        if let Some(process) = closed.process {
            // Those who wait for the end of this child wait until it is
            // reaped.
            let watchers = self.watchers.borrow_mut().remove(&child).unwrap_or_default();
            io.tasks.spawn(async move {
                process.reap().await;
                tell(watchers);
            });
        }
        self.contexts_gone(io, &gone);
        self.link_gone.notify_waiters();
        if was_parent && !io.detaching().has_left() {
            io.ending().begin(io, ORPHAN_GRACE, None);
        }
    }

    /// Wakes everyone who waits for a context that has gone, and tells the
    /// neighbours that have dealt with it.
    fn contexts_gone(&self, io: &Rc<Io>, gone: &Gone) {
        for &(link, context) in &gone.tell {
            let notice = del_route(io.with_routing(|routing| routing.remote(link)), context);
            let notice = Message { src: io.shared.me, auth: io.shared.me, ..notice };
            io.with_links(|links| links.push_farewell(link, context, notice));
        }
        for &context in &gone.contexts {
            let orphans = io.with_inboxes(|inboxes| inboxes.forget(context));
            let watchers = self.watchers.borrow_mut().remove(&context).unwrap_or_default();
            if let Some(dispatcher) = &io.dispatcher
                && !io.detaching().outlives(io, context)
            {
                dispatcher.forget(context);
            }
            io.outgoing().forget(io, context);
            let dead = io.own_reason(DeadReason::DISCONNECTED).to_message();
            for orphan in orphans {
                io.hand_over_last(orphan, Message { src: io.shared.me, ..dead.clone() });
            }
            tell(watchers);
        }
    }
}

/// Tells those who have waited for the end of a context.
fn tell(watchers: Vec<oneshot::Sender<()>>) {
    for watcher in watchers {
        let _ = watcher.send(());
    }
}

/// The message that announces a context to a neighbour.
fn add_route(to: ContextId, target: ContextId, name: &str) -> Message {
    let mut data = target.0.to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    Message { lane: Lane::Control, raw: true, ..Message::new(to, Handle::ADD_ROUTE, data) }
}

/// The message that tells a neighbour that a context has gone.
fn del_route(to: ContextId, target: ContextId) -> Message {
    let data = target.0.to_be_bytes().to_vec();
    Message { lane: Lane::Control, raw: true, ..Message::new(to, Handle::DEL_ROUTE, data) }
}
