//! The sending side of flow control: the windows from this context to handles of others, and the calls and data that
//! wait for room in them. Decides, and sends nothing.

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

/// Told whether a message was taken; `None` if that is not asked.
pub(crate) type Accepted = Option<oneshot::Sender<Result<(), Error>>>;

/// Tells the sender of a message what has become of it.
pub(crate) fn tell(accepted: Accepted, result: Result<(), Error>) {
    if let Some(accepted) = accepted {
        let _ = accepted.send(result);
    }
}

/// A message, and who is told when it leaves.
pub(crate) struct Metered {
    pub(crate) message: Message,
    pub(crate) accepted: Accepted,
    /// By this a call is found that is to be taken back.
    pub(crate) number: u64,
}

/// What becomes of a message.
pub(crate) enum Offer {
    /// There is room: it is to be sent now.
    Fits(Metered),
    /// It waits for room, or for its turn.
    Waits,
    /// Earlier data was not taken; the sender is told that now.
    Failed(Accepted, Error),
}

/// What is left of a window that was closed.
pub(crate) struct ClosedWindow {
    /// The handle where dead messages about it have come in.
    pub(crate) complaints: Option<Handle>,
    /// Replies that have waited behind its data, and are sent all the same.
    pub(crate) replies: Vec<Message>,
    /// Those whose data has waited.
    pub(crate) refused: Vec<Accepted>,
}

#[derive(Default)]
struct Window {
    outlet: SendWindow,
    waiting: WaitingLine<Metered>,
    /// Where a dead message about data finds this window; calls have a handle
    /// each.
    complaints: Option<Handle>,
}

/// All windows from this context to handles of others.
#[derive(Default)]
pub(crate) struct Credit {
    windows: HashMap<(ContextId, Handle), Window>,
    /// Why earlier data was not taken; reported with the next.
    refused: RefusedWindows,
    last: u64,
}

impl Credit {
    /// The number of the next message that is offered. Numbers rise.
    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Offers a message. Data needs a handle where dead messages about it come in: if its window has none yet,
    /// `next_handle` makes one, which is also returned, to be registered.
    pub(crate) fn offer(
        &mut self,
        Metered { mut message, accepted, number }: Metered,
        next_handle: impl FnOnce() -> Handle,
    ) -> (Offer, Option<Handle>) {
        let target = (message.dst, message.handle);
        let counted = message.handle == Handle::CALL_FUNCTION;
        if let Some(error) = self.refused.take(target) {
            return (Offer::Failed(accepted, error), None);
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
        let metered = Metered { message, accepted, number };
        if fits {
            return (Offer::Fits(metered), complaints);
        }
        window.waiting.push(number, metered);
        (Offer::Waits, complaints)
    }

    /// Queues the reply to a call behind the values that wait for room in the handle `values` of the caller. Returns
    /// the reply if none do.
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

    /// The context `receiver` gives room back. Returns what may be sent now.
    pub(crate) fn give(&mut self, receiver: ContextId, grant: &Grant) -> Vec<Metered> {
        let mut ready = Vec::new();
        let Some(window) = self.windows.get_mut(&(receiver, grant.handle)) else {
            return ready;
        };
        window.outlet.give(grant);
        while let Some(next) = window.waiting.front() {
            let counted = grant.handle == Handle::CALL_FUNCTION;
            // What only waits for its turn needs no room.
            let free = next.message.is_dead() || next.message.handle != grant.handle;
            if !free && !window.outlet.take(next.message.data.len(), counted) {
                break;
            }
            ready.extend(window.waiting.pop());
        }
        ready
    }

    /// Closes a window whose receiver has refused or has gone. `keep`: if nobody is told now, the sender of the next
    /// message is.
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

    /// A context has gone, and its windows with it. Returns the handles for dead messages about them, and those whose
    /// messages have waited.
    pub(crate) fn forget(&mut self, context: ContextId) -> (Vec<Handle>, Vec<Accepted>) {
        self.refused.forget(context);
        let lost: Vec<_> = self.windows.extract_if(|(dst, _), _| *dst == context).map(|(_, window)| window).collect();
        let complaints = lost.iter().filter_map(|window| window.complaints).collect();
        (
            complaints,
            lost.into_iter().flat_map(|window| window.waiting.into_entries()).map(|waiting| waiting.accepted).collect(),
        )
    }

    /// Takes back a call that has not left yet; false if there is none. A call of a chain stays, as it is needed
    /// there to end the chain.
    pub(crate) fn take_back(&mut self, callee: ContextId, number: u64) -> bool {
        let Some(window) = self.windows.get_mut(&(callee, Handle::CALL_FUNCTION)) else {
            return false;
        };
        let is_chained = |waiting: &Metered| call_payload::is_chained(&waiting.message.data);
        !window.waiting.get(number).is_none_or(is_chained) && window.waiting.remove(number).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.windows.len() + self.refused.len()
    }

    /// Messages that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.messages().map(|(_, message)| usize::from(!message.is_dead())).sum()
    }

    /// The handles for the replies to calls that wait for room.
    pub(crate) fn no_room(&self) -> HashSet<Handle> {
        self.messages().map(|(_, message)| message.reply_to).collect()
    }

    /// The receivers that data waits for. Calls without room are among those that are pending.
    pub(crate) fn blocked(&self) -> Vec<BlockedSender> {
        let mut all: Vec<BlockedSender> = Vec::new();
        for ((context, handle), _) in self.messages().filter(|((_, handle), _)| *handle != Handle::CALL_FUNCTION) {
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
    use crate::wire::error::DeadReason;

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
