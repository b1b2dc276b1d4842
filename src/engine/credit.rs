//! The sending side of flow control. It holds the windows from this context to handles of other contexts, and
//! the calls and data that wait for room in them. It only makes decisions; its callers send the messages.

use std::collections::HashSet;

use tokio::sync::oneshot;

use crate::engine::stats::BlockedSender;
use crate::routing::refused_windows::RefusedWindows;
use crate::routing::waiting_line::WaitingLine;
use crate::routing::window::{Grant, SendWindow};
use crate::sys::hash::HashMap;
use crate::wire::call_payload;
use crate::wire::error::Error;
use crate::wire::message::{ContextId, Handle, Message};

/// Receives the result when a message was accepted or refused; `None` if the sender does not need it.
pub(crate) type Accepted = Option<oneshot::Sender<Result<(), Error>>>;

/// Reports the result to the sender of a message.
pub(crate) fn tell(accepted: Accepted, result: Result<(), Error>) {
    if let Some(accepted) = accepted {
        let _ = accepted.send(result);
    }
}

/// A message, and the sender that is notified when the message leaves.
pub(crate) struct Metered {
    pub(crate) message: Message,
    pub(crate) accepted: Accepted,
    /// Identifies a call that has to be withdrawn.
    pub(crate) number: u64,
}

/// The result of [`Credit::offer`].
pub(crate) enum Offer {
    /// There is room: the caller sends the message now.
    Fits(Metered),
    /// The message waits for room, or for earlier messages.
    Waits,
    /// Earlier data was refused. The sender of this message gets the error.
    Failed(Accepted, Error),
}

/// The contents of a window that was closed.
pub(crate) struct ClosedWindow {
    /// The handle of this context that received dead messages about the window.
    pub(crate) complaints: Option<Handle>,
    /// Replies that waited behind the data of the window. They are still sent.
    pub(crate) replies: Vec<Message>,
    /// The senders whose data waited.
    pub(crate) refused: Vec<Accepted>,
}

#[derive(Default)]
struct Window {
    outlet: SendWindow,
    waiting: WaitingLine<Metered>,
    /// The handle of this context that receives dead messages about the data of this window. Calls have their
    /// own handles.
    complaints: Option<Handle>,
}

/// All windows from this context to handles of other contexts.
#[derive(Default)]
pub(crate) struct Credit {
    windows: HashMap<(ContextId, Handle), Window>,
    /// The reasons why earlier data was refused. The sender of the next data gets the reason.
    refused: RefusedWindows,
    last: u64,
}

impl Credit {
    /// Returns the number of the next message. Numbers increase.
    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Offers a message. Data needs a handle of this context that receives dead messages about it. If the
    /// window has none yet, `next_handle` creates one. It is then also returned, and the caller has to
    /// register it.
    pub(crate) fn offer(
        &mut self,
        Metered { mut message, accepted, number }: Metered,
        next_handle: impl FnOnce() -> Handle,
    ) -> (Offer, Option<Handle>) {
        let target = (message.dst, message.handle);
        let counted = message.handle.takes_calls();
        if let Some(error) = self.refused.take(target) {
            return (Offer::Failed(accepted, error), None);
        }
        let metered = |message| Metered { message, accepted, number };
        // It needs no room, and nothing waits before it. The receiver may be gone, and would never close the window.
        if message.is_dead() && !self.windows.contains_key(&target) {
            return (Offer::Fits(metered(message)), None);
        }
        let window = self.windows.entry(target).or_default();
        let mut complaints = None;
        if !counted && message.reply_to == Handle::NONE {
            message.reply_to = *window.complaints.get_or_insert_with(|| {
                let handle = next_handle();
                complaints = Some(handle);
                handle
            });
        }
        let fits = window.waiting.is_empty() && (message.is_dead() || window.outlet.take(message.data.len(), counted));
        if fits {
            return (Offer::Fits(metered(message)), complaints);
        }
        window.waiting.push(number, metered(message));
        (Offer::Waits, complaints)
    }

    /// Queues the reply to a call behind the values that wait for room in the caller's handle `values`. If no
    /// values wait, returns the reply.
    pub(crate) fn queue_behind(&mut self, values: Handle, reply: Message) -> Option<Message> {
        let number = self.number();
        if values != Handle::NONE
            && let Some(window) = self.windows.get_mut(&(reply.dst, values))
            && !window.waiting.is_empty()
        {
            window.waiting.push(number, Metered { message: reply, accepted: None, number });
            return None;
        }
        Some(reply)
    }

    /// Adds the room that the context `receiver` returned. Returns the messages that may be sent now.
    pub(crate) fn give(&mut self, receiver: ContextId, grant: &Grant) -> Vec<Metered> {
        let mut ready = Vec::new();
        let Some(window) = self.windows.get_mut(&(receiver, grant.handle)) else {
            return ready;
        };
        window.outlet.give(grant);
        while let Some(next) = window.waiting.front() {
            let counted = grant.handle.takes_calls();
            // Dead messages, and replies that wait behind the values, need no room.
            let free = next.message.is_dead() || next.message.handle != grant.handle;
            if !free && !window.outlet.take(next.message.data.len(), counted) {
                break;
            }
            ready.extend(window.waiting.pop());
        }
        ready
    }

    /// Closes a window whose receiver has refused data or has gone. `keep`: if no sender waits, the sender of
    /// the next message gets the error.
    pub(crate) fn close(&mut self, dst: ContextId, handle: Handle, error: &Error, keep: bool) -> Option<ClosedWindow> {
        let window = self.windows.remove(&(dst, handle))?;
        let (replies, refused): (Vec<_>, Vec<_>) =
            window.waiting.into_entries().partition(|waiting| waiting.message.handle != handle);
        let replies = replies.into_iter().map(|waiting| waiting.message).collect();
        let refused: Vec<_> = refused.into_iter().map(|waiting| waiting.accepted).filter(Option::is_some).collect();
        if keep && refused.is_empty() {
            self.refused.keep((dst, handle), error.clone());
        }
        Some(ClosedWindow { complaints: window.complaints, replies, refused })
    }

    /// Removes the windows to a context that has gone. Returns the handles for dead messages about them, and
    /// the senders whose messages waited.
    pub(crate) fn forget(&mut self, context: ContextId) -> (Vec<Handle>, Vec<Accepted>) {
        self.refused.forget(context);
        let lost: Vec<_> = self.windows.extract_if(|(dst, _), _| *dst == context).map(|(_, window)| window).collect();
        let complaints = lost.iter().filter_map(|window| window.complaints).collect();
        (
            complaints,
            lost.into_iter().flat_map(|window| window.waiting.into_entries()).map(|waiting| waiting.accepted).collect(),
        )
    }

    /// Withdraws a call that has not been sent yet; returns false if there is none. A call of a chain is
    /// kept, because the called context has to see it to end the chain.
    pub(crate) fn take_back(&mut self, callee: ContextId, number: u64) -> bool {
        let is_chained = |waiting: &Metered| call_payload::is_chained(&waiting.message.data);
        [Handle::CALL_FUNCTION, Handle::CALL_SERVICE].into_iter().any(|handle| {
            let window = self.windows.get_mut(&(callee, handle));
            window.is_some_and(|window| {
                !window.waiting.get(number).is_none_or(is_chained) && window.waiting.remove(number).is_some()
            })
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.windows.len() + self.refused.len()
    }

    /// The number of messages that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.messages().map(|(_, message)| usize::from(!message.is_dead())).sum()
    }

    /// The reply handles of the calls that wait for room.
    pub(crate) fn no_room(&self) -> HashSet<Handle> {
        self.messages().map(|(_, message)| message.reply_to).collect()
    }

    /// The receivers for which data waits. Calls that wait for room are listed among the pending calls
    /// instead.
    pub(crate) fn blocked(&self) -> Vec<BlockedSender> {
        let mut all: Vec<BlockedSender> = Vec::new();
        for ((context, handle), _) in self.messages().filter(|((_, handle), _)| !handle.takes_calls()) {
            match all.last_mut() {
                Some(last) if (last.context, last.handle) == (context, handle) => last.messages += 1,
                _ => all.push(BlockedSender { context, handle, messages: 1 }),
            }
        }
        all.sort_unstable_by_key(|blocked| (blocked.context, blocked.handle));
        all
    }

    fn messages(&self) -> impl Iterator<Item = ((ContextId, Handle), &Message)> {
        let windows = self.windows.iter();
        windows.flat_map(|(target, window)| window.waiting.iter().map(|waiting| (*target, &waiting.message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::window::{MAX_CALLS, WINDOW};
    use crate::wire::error::{ChannelErrorKind, DeadReason};

    const RECEIVER: Handle = Handle(2000);
    const FAR: ContextId = ContextId(1);

    fn offer(credit: &mut Credit, message: Message) -> (Offer, Option<Handle>) {
        let number = credit.number();
        credit.offer(Metered { message, accepted: None, number }, || Handle(1000))
    }

    fn data(size: usize) -> Message {
        Message::new(FAR, RECEIVER, vec![0; size])
    }

    fn call(reply_to: u32) -> Message {
        Message { reply_to: Handle(reply_to), ..Message::new(FAR, Handle::CALL_FUNCTION, vec![0; 8]) }
    }

    fn grant(handle: Handle, bytes: u32, messages: u32) -> Grant {
        Grant { to: ContextId(0), handle, bytes, messages, size: WINDOW }
    }

    /// A window without room, and what has been offered behind it.
    fn full() -> Credit {
        let mut credit = Credit::default();
        let (first, complaints) = offer(&mut credit, data(WINDOW as usize));
        assert!(matches!(first, Offer::Fits(_)) && complaints == Some(Handle(1000)));
        let (second, complaints) = offer(&mut credit, data(10));
        assert!(matches!(second, Offer::Waits) && complaints.is_none());
        credit
    }

    #[test]
    fn data_waits_for_room_and_a_reply_waits_behind_it() {
        let mut credit = full();
        let reply = Message::new(FAR, Handle(3000), vec![1]);
        assert!(credit.queue_behind(Handle(2001), reply.clone()).is_some(), "no values wait in that handle");
        assert!(credit.queue_behind(RECEIVER, reply).is_none());
        assert!(matches!(offer(&mut credit, data(WINDOW as usize)).0, Offer::Waits));
        assert_eq!((credit.waiting(), credit.blocked()[0].messages), (3, 3));
        let ready = credit.give(FAR, &grant(RECEIVER, WINDOW / 4, 0));
        assert_eq!(ready.iter().map(|ready| ready.message.handle).collect::<Vec<_>>(), [RECEIVER, Handle(3000)]);
        assert_eq!(credit.waiting(), 1);
    }

    #[test]
    fn who_sends_data_behind_a_refusal_is_told_once() {
        let mut credit = Credit::default();
        let _ = offer(&mut credit, data(1));
        let error = DeadReason::INVALID_HANDLE.at(FAR);
        let closed = credit.close(FAR, RECEIVER, &error, true).unwrap();
        assert!(closed.complaints == Some(Handle(1000)) && closed.refused.is_empty());
        assert!(matches!(offer(&mut credit, data(1)).0, Offer::Failed(_, told) if told == error));
        assert!(matches!(offer(&mut credit, data(1)).0, Offer::Fits(_)));
    }

    #[test]
    fn the_end_of_a_window_tells_those_who_wait_and_lets_replies_go() {
        let mut credit = full();
        let (accepted, _told) = oneshot::channel();
        let waiting = Metered { message: data(1), accepted: Some(accepted), number: credit.number() };
        assert!(matches!(credit.offer(waiting, || Handle(1000)).0, Offer::Waits));
        assert!(credit.queue_behind(RECEIVER, Message::new(FAR, Handle(3000), vec![1])).is_none());
        let closed = credit.close(FAR, RECEIVER, &DeadReason::INVALID_HANDLE.at(FAR), true).unwrap();
        assert_eq!((closed.replies.len(), closed.refused.len(), credit.len()), (1, 1, 0));
        let mut credit = full();
        let (complaints, waiting) = credit.forget(FAR);
        assert_eq!((complaints.len(), waiting.len(), credit.len()), (1, 1, 0));
    }

    #[test]
    fn the_end_of_a_stream_opens_no_window() {
        let mut credit = Credit::default();
        let end = Message { dst: FAR, handle: RECEIVER, ..Message::dead_as(ChannelErrorKind::SenderClosed, "closed") };
        assert!(matches!(offer(&mut credit, end.clone()), (Offer::Fits(_), None)));
        assert_eq!(credit.len(), 0);
        let mut credit = full();
        assert!(matches!(offer(&mut credit, end), (Offer::Waits, None)), "it comes after the data");
    }

    #[test]
    fn a_call_that_waits_can_be_taken_back_and_one_that_has_left_cannot() {
        let mut credit = Credit::default();
        for number in 0..MAX_CALLS {
            assert!(matches!(offer(&mut credit, call(5000 + number)).0, Offer::Fits(_)));
        }
        assert!(matches!(offer(&mut credit, call(9000)).0, Offer::Waits));
        assert!(credit.no_room().contains(&Handle(9000)) && credit.blocked().is_empty());
        assert!(!credit.take_back(FAR, 1));
        let last = credit.number() - 1;
        assert!(credit.take_back(FAR, last) && !credit.take_back(FAR, last));
        assert!(credit.give(FAR, &grant(Handle::CALL_FUNCTION, 100, 1)).is_empty());
    }
}
