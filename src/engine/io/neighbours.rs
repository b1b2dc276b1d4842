//! The neighbours of this context, and the contexts behind them: how they are attached, and what happens when
//! they have gone.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

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
use crate::sys::deadline::deadline;
use crate::sys::hash::HashMap;
use crate::sys::pipe::Stream;
use crate::sys::process::Launched;
use crate::wire::error::{ConnectError, ConnectErrorKind, DeadReason, Error, Phase};
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The time that children have to end when the link to the parent has ended.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// Additional time before a child is killed, because the child gets the order to end later than this context
/// sends it.
const KILL_DELAY: Duration = Duration::from_millis(500);
/// Time for a launcher whose connection was lost to print the reason.
#[cfg(feature = "cli")]
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A neighbour to attach.
pub(crate) struct Neighbour<'a> {
    pub(crate) context: ContextId,
    pub(crate) name: &'a str,
    /// The authority that its messages get, if they do not keep their own.
    pub(crate) authority: Option<ContextId>,
    pub(crate) stream: Stream,
    /// The bytes that were read after the handshake.
    pub(crate) rest: Vec<u8>,
    /// The process behind the link, if this context has started it, and the last lines of its stderr.
    pub(crate) process: Option<(Launched, Rc<LastWords>)>,
}

/// The neighbours, and the waiters for the end of contexts.
#[derive(Default)]
pub(crate) struct Neighbours {
    watchers: RefCell<HashMap<ContextId, Vec<oneshot::Sender<()>>>>,
    /// Notified when a link has ended.
    link_gone: Notify,
    parent_gone: Cell<bool>,
}

impl Neighbours {
    pub(super) fn attach_parent(&self, io: &Rc<Io>, stream: Stream) {
        let Some(parent) = io.shared.parent() else {
            return;
        };
        let link = io.with_links(|links| links.open(None, None));
        io.with_routing(|routing| routing.add_parent(link, parent));
        link::start(io, link, stream, Vec::new());
    }

    /// Attaches a child whose handshake is complete, or another neighbour that is not the parent. Announces
    /// it to the parent.
    pub(crate) fn attach(&self, io: &Rc<Io>, neighbour: Neighbour<'_>) {
        let Neighbour { context, name, authority, stream, rest, process } = neighbour;
        let (process, last_words) = process.unzip();
        let link = io.with_links(|links| links.open(process, last_words));
        io.with_routing(|routing| routing.add_child(link, context, name.to_owned(), authority));
        if let Some(parent) = io.shared.parent() {
            io.send(add_route(parent, context, name));
        }
        link::start(io, link, stream, rest);
    }

    /// Attaches a context that already uses the frame protocol on `stream`, and announces it to the parent.
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
        let stream =
            Stream::of_socket(stream).map_err(|error| refuse(format!("the stream cannot be watched: {error}")))?;
        self.attach(io, Neighbour { context, name, authority, stream, rest: Vec::new(), process: None });
        Ok(())
    }

    /// The neighbour through which a message to `target` leaves, and its name.
    pub(crate) fn on_the_way_to(&self, io: &Io, target: ContextId) -> Option<(ContextId, String)> {
        io.with_routing(|routing| {
            let neighbour = routing.remote(routing.out(target).filter(|_| target != io.shared.me)?);
            let name = routing.name(neighbour).map_or_else(|| format!("context {neighbour}"), str::to_owned);
            Some((neighbour, name))
        })
    }

    /// Adds a route: messages to `target` leave through the neighbour `via`.
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
            self.contexts_gone(io, &gone, None, None);
        }
    }

    /// Sets the authority of all messages from a neighbour.
    pub(crate) fn stamp(&self, io: &Io, neighbour: ContextId, authority: Option<ContextId>) {
        io.with_routing(|routing| {
            if let Some(link) = routing.link_of(neighbour) {
                routing.stamp(link, authority);
            }
        });
    }

    /// Handles the announcement of a context behind a neighbour.
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
                    // The name that this context has stored. It begins with the name of the neighbour.
                    let name = io.with_routing(|routing| routing.name(target).unwrap_or_default().to_owned());
                    io.send_because_of(from, add_route(parent, target, &name));
                }
            }
            Err(why) if io.may_complain(Some(from), Fault::Route) => log_later!(io, ERROR, "{why}: ignored"),
            Err(_) => {}
        }
    }

    /// Handles the report that a context behind a neighbour has gone.
    pub(super) fn on_del_route(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        let (Some(from), Ok(target)) = (from, <[u8; 4]>::try_from(&message.data[..])) else {
            return;
        };
        let target = ContextId(u32::from_be_bytes(target));
        let gone = io.with_routing(|routing| routing.del_route(from, target));
        if let Some(gone) = gone {
            self.contexts_gone(io, &gone, Some(from), None);
        }
    }

    /// Sends the last lines that the launcher of a lost context wrote to its stderr. Of a context that another one has
    /// started, these are what that one has sent.
    #[cfg(feature = "cli")]
    pub(crate) fn tell_last_words(&self, io: &Rc<Io>, lost: ContextId, name: &str, to: oneshot::Sender<Vec<String>>) {
        if let Some(words) = io.with_links(|links| links.last_words(lost)) {
            task_set::spawn(async move {
                let _ = tokio::time::timeout(LAST_WORDS, words.ended.cancelled()).await;
                let _ = to.send(words.lines());
            });
        } else if io.shared.has_gone(lost) {
            let (io, name) = (Rc::clone(io), name.to_owned());
            task_set::spawn(async move {
                // The end of a context arrives before what its launcher wrote.
                let arrives = async {
                    while io.logs().far_words.of(&name).is_empty() {
                        tokio::time::sleep(LAST_WORDS / 10).await;
                    }
                    tokio::time::sleep(LAST_WORDS / 10).await;
                };
                let _ = tokio::time::timeout(LAST_WORDS, arrives).await;
                let _ = to.send(io.logs().far_words.of(&name));
            });
        }
    }

    /// Notifies `gone` when the context has gone, or immediately if no route leads to it.
    pub(super) fn watch(&self, io: &Io, context: ContextId, gone: oneshot::Sender<()>) {
        if io.with_routing(|routing| routing.link_to(context)).is_some() {
            self.watchers.borrow_mut().entry(context).or_default().push(gone);
        }
    }

    /// Drops all watchers, which notifies them.
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

    /// Closes the link to a child.
    pub(super) fn disconnect(&self, io: &Rc<Io>, context: ContextId) {
        if let Some(link) = self.child_link(io, context) {
            self.lost(io, link, None);
        }
    }

    /// Starts or stops reading from the link to a child.
    pub(super) fn read(&self, io: &Io, context: ContextId, on: bool) {
        if let Some(link) = self.child_link(io, context) {
            io.with_links(|links| links.read(link, on));
        }
    }

    /// Orders a context, and everything behind it, to end.
    pub(crate) fn order_shutdown(&self, io: &Rc<Io>, context: ContextId) {
        if let Some(link) = self.child_link(io, context)
            && io.with_links(|links| links.order_to_end(link))
        {
            io.set_timer(deadline(io.thread().child_grace()) + KILL_DELAY, Timer::Kill(link));
        }
        let order = Message { lane: Lane::Control, ..Message::new(context, Handle::SHUTDOWN, Bytes::new()) };
        io.send(order);
    }

    /// Handles the end of a link. `why` is the reason, if the link was not closed properly.
    pub(crate) fn lost(&self, io: &Rc<Io>, link: LinkId, why: Option<&str>) {
        let child = io.with_routing(|routing| routing.remote(link));
        let Some(closed) = io.with_links(|links| links.close(link, child)) else {
            return;
        };
        // If the context was ordered to end, a broken link is expected and not logged.
        if let Some(why) = why.filter(|_| !closed.told_to_end) {
            log_later!(io, WARN, "link to context {child} lost: {why}");
        }
        let (was_parent, gone) = io.with_routing(|routing| (routing.parent() == Some(link), routing.del_link(link)));
        if was_parent {
            self.parent_gone.set(true);
        }
        let ending = closed.process.is_some().then_some(child);
        if let Some(process) = closed.process {
            // Waiters for the end of this child are notified only after the child has been reaped. Its callers
            // are told how it has ended, which is known right after the end of its link, unless the process
            // was stopped or only the link was lost.
            let (watchers, here) = (self.watchers.borrow_mut().remove(&child).unwrap_or_default(), Rc::clone(io));
            let told = Box::new(move |status: Option<ExitStatus>| {
                if let Some(status) = status {
                    here.shared.directory().set_status(child, status.into_raw());
                }
                here.neighbours().tell_orphans(&here, child);
            });
            io.tasks.spawn(async move {
                process.reap(told).await;
                tell(watchers);
            });
        }
        self.contexts_gone(io, &gone, None, ending);
        self.link_gone.notify_waiters();
        if was_parent && !io.detaching().has_left() {
            io.ending().begin(io, ORPHAN_GRACE, None);
        }
    }

    /// Notifies all waiters for contexts that have gone, and the neighbours that have communicated with them.
    /// `cause` is the link of the neighbour that has reported it, if one has. Who waits for messages of `ending` is told
    /// later.
    fn contexts_gone(&self, io: &Rc<Io>, gone: &Gone, cause: Option<LinkId>, ending: Option<ContextId>) {
        for &(link, context) in &gone.tell {
            let notice = del_route(io.with_routing(|routing| routing.remote(link)), context);
            let notice = Message { src: io.shared.me, auth: io.shared.me, ..notice };
            io.with_links(|links| links.push_farewell(link, context, notice, cause));
        }
        for &context in &gone.contexts {
            if !io.detaching().outlives(io, context) {
                io.dispatchers().for_each(|dispatcher| dispatcher.forget(context));
            }
            io.outgoing().forget(io, context);
            if Some(context) != ending {
                self.tell_orphans(io, context);
            }
        }
    }

    /// Notifies all that wait for messages of a context that has gone, or for its end.
    fn tell_orphans(&self, io: &Rc<Io>, context: ContextId) {
        let orphans = io.with_inboxes(|inboxes| inboxes.forget(context));
        let watchers = self.watchers.borrow_mut().remove(&context).unwrap_or_default();
        let dead = io.own_reason(DeadReason::DISCONNECTED).to_message();
        for orphan in orphans {
            io.hand_over_last(orphan, Message { src: io.shared.me, ..dead.clone() });
        }
        tell(watchers);
    }
}

/// Notifies the waiters for the end of a context.
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

/// The message that reports to a neighbour that a context has gone.
fn del_route(to: ContextId, target: ContextId) -> Message {
    let data = target.0.to_be_bytes().to_vec();
    Message { lane: Lane::Control, raw: true, ..Message::new(to, Handle::DEL_ROUTE, data) }
}
