//! The messages that arrive for this context: the target of each handle, and messages of which only some
//! fragments have arrived.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::log::{MAX_NAME, cut};
use crate::engine::ports::Callback;
use crate::engine::queue::Queue;
use crate::engine::stats::{PendingCall, ReceiverStats, WaitsFor};
use crate::engine::timers::TimerKey;
use crate::routing::handles::{Handles, Registration, Sink};
use crate::routing::table::{LinkId, Routing};
use crate::sys::hash::HashMap;
use crate::wire::error::{ChannelErrorKind, DeadReason, Error};
use crate::wire::message::{ContextId, Handle, MAX_REASON, Message};
use crate::wire::reassembly::{Added, Runs};
use crate::wire::sanitize::printable;

/// The reason for refusing a message that is too long for the handles of the router.
const TOO_LARGE_FOR_HANDLE: DeadReason =
    DeadReason::fixed(ChannelErrorKind::TooLarge, "message too large for its handle");

/// The target of the messages to a handle.
pub(crate) enum Target {
    /// The caller that awaits this one reply.
    Reply {
        to: oneshot::Sender<Message>,
        timer: Option<TimerKey>,
        asked: Asked,
        /// Identifies the call while it waits for room; 0 if it never waits.
        number: u64,
        /// The room that the call takes in a window of the called context, if it takes any.
        room: Option<Room>,
        /// The most bytes of the reply.
        most: u64,
    },
    /// The queue of a receiver.
    Queue(Arc<Queue>),
    /// A handler of the user.
    User(Arc<Callback>),
    /// The router itself.
    Control,
    /// The window to which the dead message refers.
    Window { dst: ContextId, handle: Handle },
}

impl Target {
    /// The queue that accounts for the messages of a handle that the user holds.
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::User(handler) => Some(&handler.queue),
            _ => None,
        }
    }

    /// The timer that ends the wait for a reply.
    pub(crate) fn timer(&self) -> Option<TimerKey> {
        if let Self::Reply { timer, .. } = self { *timer } else { None }
    }

    /// Tells a caller whose time limit was reached which function the call has waited for, if that is known.
    pub(crate) fn tell_waits(self, me: ContextId) {
        if let Self::Reply { to, asked: Asked { waits_for: Some(name), .. }, .. } = self {
            // An error means that the caller has dropped the call.
            let _ = to.send(Message::new(me, Handle::WAITS, String::from(name).into_bytes()));
        }
    }

    /// The number of the call that waits for a reply at this target; 0 if there is none.
    pub(crate) fn number(&self) -> u64 {
        if let Self::Reply { number, .. } = self { *number } else { 0 }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply { .. } => "Reply",
            Self::Queue(_) => "Queue",
            Self::User(_) => "User",
            Self::Control => "Control",
            Self::Window { .. } => "Window",
        })
    }
}

/// The room that a call takes in the window of a handle.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) callee: ContextId,
    pub(crate) handle: Handle,
    pub(crate) payload: u32,
}

/// The request that a reply belongs to.
pub(crate) struct Asked {
    function: &'static str,
    since: Instant,
    /// The function that the call waits for in the called context, if that context has said so.
    waits_for: Option<Box<str>>,
}

impl Asked {
    pub(crate) fn new(function: &'static str, since: Instant) -> Self {
        Self { function, since, waits_for: None }
    }
}

/// A target to which a message may be delivered.
pub(crate) struct Delivery {
    pub(crate) target: Target,
    /// The handle has been released, so no further messages follow.
    pub(crate) last: bool,
}

/// The handles of one router.
pub(crate) struct Inboxes {
    handles: Handles<Target>,
    queues: HashMap<Handle, Weak<Queue>>,
    runs: Runs,
}

impl Inboxes {
    pub(crate) fn new(max_message_size: u64) -> Self {
        Self { handles: Handles::default(), queues: HashMap::default(), runs: Runs::new(max_message_size) }
    }

    pub(crate) fn add(&mut self, handle: Handle, registration: Registration<Target>) -> Result<(), Error> {
        let queue = registration.sink.queue().cloned();
        match self.handles.add(handle, registration) {
            Ok(()) => {
                if let Some(queue) = queue {
                    self.queues.insert(handle, Arc::downgrade(&queue));
                }
                Ok(())
            }
            Err(_) => {
                if let Some(queue) = queue {
                    queue.fair_queue.close();
                }
                Err(Error::Handle { handle, reason: "cannot register a handle that already exists".into() })
            }
        }
    }

    /// Removes a handle of the router's own.
    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Registration<Target>> {
        self.handles.remove(handle)
    }

    /// The number of the call whose reply is awaited at a handle; 0 if there is none.
    pub(crate) fn number_of(&self, handle: Handle) -> u64 {
        self.handles.get(handle).map_or(0, Target::number)
    }

    /// Records the function that a call waits for, as the called context says.
    pub(crate) fn on_waits(&mut self, message: &Message) {
        if let Some((handle, name)) = message.data.split_first_chunk()
            && let handle = Handle(u32::from_be_bytes(*handle))
            && let Some(Target::Reply { asked, .. }) = self.handles.awaiting(handle, message.src)
        {
            asked.waits_for = Some(cut(&printable(&String::from_utf8_lossy(name)), MAX_NAME).into());
        }
    }

    /// Removes a handle that the user holds. If `queue` is given, the handle is removed only if it still
    /// belongs to that queue. Returns the queue that gets no further messages.
    pub(crate) fn release(&mut self, handle: Handle, queue: Option<&Queue>) -> Option<Arc<Queue>> {
        let held = self.handles.get(handle)?.queue()?;
        if queue.is_some_and(|queue| !std::ptr::eq(&**held, queue)) {
            return None;
        }
        let held = Arc::clone(held);
        self.handles.remove(handle);
        self.queues.remove(&handle);
        Some(held)
    }

    /// Retires a queue, which gets no further messages because its handle has been removed.
    pub(crate) fn retire(&mut self, queue: &Queue) {
        self.queues.remove(&queue.handle);
    }

    /// Whether `part` continues a message of which only some fragments have arrived.
    pub(crate) fn continues(&self, part: &Message) -> bool {
        self.runs.continues(part)
    }

    /// Adds a fragment. The first fragment of a message decides whether the message is accepted.
    pub(crate) fn assemble(&mut self, part: &Message, more: bool, routing: &Routing, from: Option<LinkId>) -> Added {
        let Self { runs, handles, .. } = self;
        let link = from.map_or(u32::MAX, |link| link.0);
        runs.add(part, more, link, || match part.handle {
            // It says in one fragment why something has failed.
            _ if part.is_dead() => check(handles, part, routing, from).map(|()| MAX_REASON as u64),
            // The other control handles accept no message that is longer than a frame.
            Handle::CALL_FUNCTION | Handle::CALL_SERVICE | Handle::LOAD_IMAGE | Handle(1000..) => {
                check(handles, part, routing, from)?;
                match handles.get(part.handle) {
                    Some(Target::Reply { most, .. }) => Ok(*most),
                    _ => Ok(u64::MAX),
                }
            }
            _ => Err(TOO_LARGE_FOR_HANDLE),
        })
    }

    /// Notes that the called context has counted the call whose reply is awaited at a handle: it gives the room back itself.
    pub(crate) fn was_counted(&mut self, handle: Handle) {
        if let Some(Target::Reply { room, .. }) = self.handles.get_mut(handle) {
            *room = None;
        }
    }

    /// Limits the size of the reply that is awaited at a handle.
    pub(crate) fn limit(&mut self, handle: Handle, bytes: u64) {
        if let Some(Target::Reply { most, .. }) = self.handles.get_mut(handle) {
            *most = bytes;
        }
    }

    /// Returns the target of a message, or the reason why it is refused.
    pub(crate) fn deliver(
        &mut self,
        message: &Message,
        routing: &Routing,
        from: Option<LinkId>,
    ) -> Result<Delivery, DeadReason> {
        check(&self.handles, message, routing, from)?;
        let target = match self.handles.sink(message.handle) {
            Some(Sink::Taken(target)) => return Ok(Delivery { target, last: true }),
            Some(Sink::Kept(Target::Queue(queue))) => Target::Queue(Arc::clone(queue)),
            Some(Sink::Kept(Target::User(handler))) => Target::User(Arc::clone(handler)),
            Some(Sink::Kept(Target::Control)) => Target::Control,
            Some(Sink::Kept(Target::Window { dst, handle })) => Target::Window { dst: *dst, handle: *handle },
            // The entry for a single reply is always removed, so it is never kept.
            Some(Sink::Kept(Target::Reply { .. })) | None => return Err(DeadReason::INVALID_HANDLE),
        };
        Ok(Delivery { target, last: false })
    }

    /// Removes the handles that wait for a context that has gone. Returns their targets.
    pub(crate) fn forget(&mut self, context: ContextId) -> Vec<Target> {
        self.runs.forget(context);
        self.queues.retain(|_, queue| queue.upgrade().inspect(|queue| queue.forget(context)).is_some());
        self.handles.orphans(context).into_iter().map(|registration| registration.sink).collect()
    }

    /// Removes all handles, because the router ends. Returns their targets.
    pub(crate) fn drain(&mut self) -> Vec<Target> {
        self.handles.drain().into_iter().map(|registration| registration.sink).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    /// The calls that wait for a reply, the oldest first. Calls whose handle is in `no_room` have not been
    /// sent yet.
    pub(crate) fn pending(&self, no_room: &HashSet<Handle>) -> Vec<PendingCall> {
        let now = Instant::now();
        let one = |(handle, registration): (Handle, &Registration<Target>)| {
            let Target::Reply { asked, .. } = &registration.sink else { return None };
            Some(PendingCall {
                context: registration.respondent,
                function: cut(asked.function, MAX_NAME),
                age: now.saturating_duration_since(asked.since),
                waits_for: if no_room.contains(&handle) { WaitsFor::Room } else { WaitsFor::Answer },
            })
        };
        let mut all: Vec<_> = self.handles.iter().filter_map(one).collect();
        all.sort_unstable_by_key(|call| std::cmp::Reverse(call.age));
        all
    }

    /// The receivers in which messages wait.
    pub(crate) fn receivers(&self) -> Vec<ReceiverStats> {
        let queues = self.queues.iter().filter_map(|(handle, queue)| Some((*handle, queue.upgrade()?)));
        let one = |(handle, queue): (Handle, Arc<Queue>)| ReceiverStats {
            handle,
            messages: queue.fair_queue.len(),
            bytes: queue.bytes(),
        };
        let mut all: Vec<_> = queues.map(one).filter(|receiver| receiver.messages > 0).collect();
        all.sort_unstable_by_key(|receiver| receiver.handle);
        all
    }
}

/// Checks whether a message may be delivered to its handle.
fn check(
    handles: &Handles<Target>,
    message: &Message,
    routing: &Routing,
    from: Option<LinkId>,
) -> Result<(), DeadReason> {
    handles.check(message, || routing.peer(from), &routing.provenance(message.src, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing() -> Routing {
        Routing::new(ContextId(0), Arc::new([]), false)
    }

    fn registration(sink: Target) -> Registration<Target> {
        let once = matches!(sink, Target::Reply { .. });
        Registration { sink, once, respondent: Some(ContextId(1)), policy: None }
    }

    fn message(handle: Handle) -> Message {
        Message { src: ContextId(1), ..Message::new(ContextId(0), handle, vec![1; 10]) }
    }

    #[test]
    fn a_reply_is_delivered_once() {
        let (mut inboxes, (to, _reply)) = (Inboxes::new(1000), oneshot::channel());
        inboxes
            .add(
                Handle(1000),
                registration(Target::Reply {
                    to,
                    timer: None,
                    asked: Asked::new("f", Instant::now()),
                    number: 0,
                    room: None,
                    most: u64::MAX,
                }),
            )
            .unwrap();
        assert_eq!(inboxes.pending(&HashSet::new())[0].waits_for, WaitsFor::Answer);
        assert_eq!(inboxes.pending(&HashSet::from([Handle(1000)]))[0].waits_for, WaitsFor::Room);
        let delivery = inboxes.deliver(&message(Handle(1000)), &routing(), None).unwrap();
        assert!(delivery.last && matches!(delivery.target, Target::Reply { .. }));
        let again = inboxes.deliver(&message(Handle(1000)), &routing(), None);
        assert_eq!(again.err(), Some(DeadReason::INVALID_HANDLE));
    }

    #[test]
    fn a_handle_is_released_only_by_the_queue_behind_it() {
        let mut inboxes = Inboxes::new(1000);
        let (queue, other) = (Arc::new(Queue::new(Handle(1000))), Arc::new(Queue::new(Handle(1000))));
        inboxes.add(Handle(1000), registration(Target::Queue(Arc::clone(&queue)))).unwrap();
        inboxes.add(Handle(108), registration(Target::Control)).unwrap();
        assert!(inboxes.add(Handle(1000), registration(Target::Queue(Arc::clone(&other)))).is_err());
        assert!(inboxes.release(Handle(1000), Some(&other)).is_none());
        assert!(inboxes.release(Handle(108), None).is_none(), "it is not the user's");
        assert!(inboxes.release(Handle(1000), Some(&queue)).is_some_and(|held| Arc::ptr_eq(&held, &queue)));
        assert!(inboxes.release(Handle(1000), None).is_none());
    }

    #[test]
    fn control_handles_take_one_frame_and_calls_take_more() {
        let mut inboxes = Inboxes::new(1000);
        for handle in [Handle::CREDIT, Handle::CALL_FUNCTION] {
            inboxes.add(handle, registration(Target::Control)).unwrap();
        }
        let refused = inboxes.assemble(&message(Handle::CREDIT), true, &routing(), None);
        assert_eq!(refused.refusal, Some(TOO_LARGE_FOR_HANDLE));
        let call = message(Handle::CALL_FUNCTION);
        assert_eq!(inboxes.assemble(&call, true, &routing(), None), Added::default());
        assert!(inboxes.continues(&call));
        assert_eq!(inboxes.assemble(&call, false, &routing(), None).whole.unwrap().len(), 20);
    }

    #[test]
    fn a_message_that_may_not_reach_its_handle_is_refused_at_its_first_fragment() {
        let mut inboxes = Inboxes::new(1000);
        inboxes.add(Handle(1000), registration(Target::Control)).unwrap();
        let stranger = Message { src: ContextId(2), ..message(Handle(1000)) };
        assert!(inboxes.assemble(&stranger, true, &routing(), None).refusal.is_some());
        assert_eq!(inboxes.assemble(&stranger, true, &routing(), None), Added::default(), "once");
        let end = inboxes.assemble(&stranger, false, &routing(), None);
        assert_eq!(end, Added { lost: Some(30), ..Added::default() });
    }

    #[test]
    fn the_end_of_a_context_takes_out_what_waits_for_it() {
        let mut inboxes = Inboxes::new(1000);
        inboxes.add(Handle(1000), registration(Target::Control)).unwrap();
        let _ = inboxes.assemble(&message(Handle(1000)), true, &routing(), None);
        assert_eq!((inboxes.forget(ContextId(2)).len(), inboxes.forget(ContextId(1)).len()), (0, 1));
        assert!(!inboxes.continues(&message(Handle(1000))) && inboxes.len() == 0);
    }
}
