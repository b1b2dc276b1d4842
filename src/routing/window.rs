//! Windows: the bytes that a sender may have under way to one handle of one receiver. No I/O.
//!
//! Both ends keep the same account. A message costs its payload and one header. It may go if it
//! fits into the window, or if at least half of the window is free. Without the second rule a
//! message larger than the window could never go. The receiver gives room back when the application
//! takes messages, in one [`Grant`] per half window. It doubles the window as long as the
//! application keeps up.
//!
//! Calls are also counted, until they have ended. The receiver gives these places back when the
//! sender has no more than as many left.

use crate::sys::hash::HashMap;
use crate::wire::frame::HEADER;
use crate::wire::message::{ContextId, Handle};

/// The size of a new window, in bytes.
pub(crate) const WINDOW: u32 = 64 * 1024;
/// The size that a window may grow to, in bytes.
pub(crate) const MAX_WINDOW: u32 = 1024 * 1024;
/// The windows of one receiver grow only while they are together smaller than this, in bytes.
pub(crate) const MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// The most calls of one caller that may wait or run at one context.
pub(crate) const MAX_CALLS: u32 = 1024;

/// The bytes that a message costs in a window.
pub(crate) fn cost(payload: usize) -> i64 {
    i64::try_from(payload + HEADER).unwrap_or(i64::MAX)
}

/// A grant of room: the payload of a `CREDIT` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The sender it is for.
    pub(crate) to: ContextId,
    /// The receiver's handle.
    pub(crate) handle: Handle,
    pub(crate) bytes: u32,
    pub(crate) messages: u32,
    /// The size of the window from now on. 0 if it is closed for good.
    pub(crate) size: u32,
}

impl Grant {
    /// Whether the receiver has closed its handle, so that the sender may forget the window.
    pub(crate) fn is_closed(&self) -> bool {
        self.size == 0
    }

    /// Encodes the payload. The context that it is for is in the header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.handle.0, self.bytes, self.messages, self.size].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// Decodes a grant for the context `to`. `None` if it is malformed.
    pub(crate) fn decode(to: ContextId, payload: &[u8]) -> Option<Self> {
        let payload: &[u8; 16] = payload.try_into().ok()?;
        let word = |at: usize| u32::from_be_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        Some(Self { to, handle: Handle(word(0)), bytes: word(4), messages: word(8), size: word(12) })
    }
}

/// The sender's side of one window.
#[derive(Debug)]
pub(crate) struct SendWindow {
    /// The room that is left. It is negative while a message larger than the window is under way.
    room: i64,
    size: i64,
    messages: i64,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self { room: WINDOW.into(), size: WINDOW.into(), messages: MAX_CALLS.into() }
    }
}

impl SendWindow {
    /// Takes room for a message. Returns false if there is none.
    pub(crate) fn take(&mut self, payload: usize, counted: bool) -> bool {
        let fits = fits(self.room, self.size, payload) && !(counted && self.messages <= 0);
        if fits {
            self.room -= cost(payload);
            self.messages -= i64::from(counted);
        }
        fits
    }

    /// Adds the room that the receiver has given back. A grant beyond the size of the window is
    /// false, and is reduced to it.
    pub(crate) fn give(&mut self, grant: &Grant) {
        let size = i64::from(grant.size.min(MAX_WINDOW));
        self.size = self.size.max(size);
        self.room = (self.room + i64::from(grant.bytes)).min(self.size);
        self.messages = (self.messages + i64::from(grant.messages)).min(MAX_CALLS.into());
    }
}

/// The receiver's side of all windows of one handle.
#[derive(Debug, Default)]
pub(crate) struct ReceiveWindows {
    by_sender: HashMap<ContextId, Inlet>,
    /// The sum of the sizes of the windows.
    total: u64,
}

#[derive(Debug)]
struct Inlet {
    /// The bytes that the sender may still send, by this account.
    room: i64,
    size: i64,
    messages: i64,
    queued: u32,
    /// Bytes that the application has taken and that were not given back yet.
    owed_bytes: i64,
    owed_messages: u32,
}

impl ReceiveWindows {
    /// Accounts for a message that came in. Returns false if its sender had no room for it.
    pub(crate) fn admit(&mut self, from: ContextId, payload: usize, counted: bool) -> bool {
        let inlet = self.by_sender.entry(from).or_insert_with(|| {
            self.total += u64::from(WINDOW);
            Inlet {
                room: WINDOW.into(),
                size: WINDOW.into(),
                messages: MAX_CALLS.into(),
                queued: 0,
                owed_bytes: 0,
                owed_messages: 0,
            }
        });
        if !fits(inlet.room, inlet.size, payload) || (counted && inlet.messages <= 0) {
            return false;
        }
        inlet.room -= cost(payload);
        inlet.messages -= i64::from(counted);
        inlet.queued += 1;
        true
    }

    /// Accounts for a message that the application has taken. Returns the grant to send, if it is
    /// time for one.
    pub(crate) fn release(&mut self, from: ContextId, handle: Handle, payload: usize) -> Option<Grant> {
        let inlet = self.by_sender.get_mut(&from)?;
        inlet.queued = inlet.queued.saturating_sub(1);
        inlet.owed_bytes += cost(payload);
        self.grant(from, handle)
    }

    /// Accounts for a call that has ended. Returns the grant to send, if it is time for one.
    pub(crate) fn ended(&mut self, from: ContextId, handle: Handle) -> Option<Grant> {
        let inlet = self.by_sender.get_mut(&from)?;
        // The sender may have gone and come back in the meantime.
        let used = i64::from(MAX_CALLS) - inlet.messages - i64::from(inlet.owed_messages);
        inlet.owed_messages += u32::from(used > 0);
        self.grant(from, handle)
    }

    /// The grant to send to a sender, if it is time for one.
    pub(crate) fn grant(&mut self, from: ContextId, handle: Handle) -> Option<Grant> {
        let inlet = self.by_sender.get_mut(&from)?;
        let are_bytes_due = inlet.owed_bytes * 2 >= inlet.size;
        if !are_bytes_due && (inlet.owed_messages == 0 || i64::from(inlet.owed_messages) < inlet.messages) {
            return None;
        }
        let mut grown = 0;
        if are_bytes_due && inlet.queued == 0 && inlet.size < MAX_WINDOW.into() && self.total < MAX_TOTAL {
            grown = inlet.size;
            inlet.size *= 2;
            self.total += grown.unsigned_abs();
        }
        let bytes = inlet.owed_bytes + grown;
        inlet.room = (inlet.room + bytes).min(inlet.size);
        inlet.messages += i64::from(inlet.owed_messages);
        let grant = Grant {
            to: from,
            handle,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            messages: inlet.owed_messages,
            size: u32::try_from(inlet.size).unwrap_or(MAX_WINDOW),
        };
        inlet.owed_bytes = 0;
        inlet.owed_messages = 0;
        Some(grant)
    }

    /// The grants that tell every sender that the handle is closed.
    pub(crate) fn farewells(&self, handle: Handle) -> Vec<Grant> {
        self.by_sender.keys().map(|&to| Grant { to, handle, bytes: 0, messages: 0, size: 0 }).collect()
    }

    /// Removes the account of a sender that has gone.
    pub(crate) fn forget(&mut self, from: ContextId) {
        if let Some(inlet) = self.by_sender.remove(&from) {
            self.total -= inlet.size.unsigned_abs();
        }
    }
}

fn fits(room: i64, size: i64, payload: usize) -> bool {
    room >= cost(payload) || room * 2 >= size
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SENDER: ContextId = ContextId(7);
    const CALLS: Handle = Handle::CALL_FUNCTION;

    #[test]
    fn a_sender_without_credit_stops_within_its_window() {
        let (mut outlet, mut sent) = (SendWindow::default(), 0);
        while outlet.take(1000, false) {
            sent += cost(1000);
        }
        assert!(sent <= i64::from(WINDOW) + cost(1000), "{sent}");
    }

    #[test]
    fn a_message_larger_than_the_window_goes_alone() {
        let mut outlet = SendWindow::default();
        assert!(outlet.take(100 << 20, false));
        assert!(!outlet.take(0, false));
        let mut inlets = ReceiveWindows::default();
        assert!(inlets.admit(SENDER, 100 << 20, false));
        assert!(!inlets.admit(SENDER, 0, false));
        let grant = inlets.release(SENDER, Handle(1000), 100 << 20).unwrap();
        outlet.give(&grant);
        assert!(outlet.take(100 << 20, false));
    }

    #[test]
    fn calls_are_counted_as_well() {
        let mut outlet = SendWindow::default();
        assert_eq!((0..5000).filter(|_| outlet.take(0, true)).count(), MAX_CALLS as usize);
    }

    #[test]
    fn a_window_grows_while_the_application_keeps_up_and_not_beyond_its_limit() {
        let (mut outlet, mut inlets) = (SendWindow::default(), ReceiveWindows::default());
        for _ in 0..20_000 {
            assert!(outlet.take(4096, false) && inlets.admit(SENDER, 4096, false));
            if let Some(grant) = inlets.release(SENDER, Handle(1000), 4096) {
                outlet.give(&grant);
            }
        }
        assert_eq!(outlet.size, i64::from(MAX_WINDOW));
        assert_eq!(inlets.total, u64::from(MAX_WINDOW));
    }

    #[test]
    fn a_lying_grant_opens_no_more_than_the_largest_window() {
        let mut outlet = SendWindow::default();
        let lie = Grant { to: SENDER, handle: Handle(1), bytes: u32::MAX, messages: u32::MAX, size: u32::MAX };
        outlet.give(&lie);
        assert_eq!(outlet.room, i64::from(MAX_WINDOW));
    }

    #[test]
    fn a_grant_survives_its_encoding_and_a_wrong_length_is_refused() {
        let grant = Grant { to: SENDER, handle: Handle(1001), bytes: 3, messages: 2, size: WINDOW };
        assert_eq!(Grant::decode(SENDER, &grant.encode()), Some(grant));
        assert_eq!(Grant::decode(SENDER, b"short"), None);
    }

    #[test]
    fn calls_that_run_keep_their_places_and_no_bytes() {
        const PAYLOAD: usize = 300;
        let (mut outlet, mut inlets) = (SendWindow::default(), ReceiveWindows::default());
        let begin = |outlet: &mut SendWindow, inlets: &mut ReceiveWindows| {
            if !outlet.take(PAYLOAD, true) {
                assert!(!inlets.admit(SENDER, 0, true), "a sender that does not heed its own account is refused");
                return false;
            }
            assert!(inlets.admit(SENDER, PAYLOAD, true));
            let grants = [inlets.grant(SENDER, CALLS), inlets.release(SENDER, CALLS, PAYLOAD)];
            grants.iter().flatten().for_each(|grant| outlet.give(grant));
            true
        };
        let end = |outlet: &mut SendWindow, inlets: &mut ReceiveWindows| {
            inlets.ended(SENDER, CALLS).iter().for_each(|grant| outlet.give(grant));
        };
        let all = MAX_CALLS as usize;
        assert_eq!((0..5000).filter(|_| begin(&mut outlet, &mut inlets)).count(), all);
        for some in [1, 300, 20, all] {
            (0..some).for_each(|_| end(&mut outlet, &mut inlets));
            assert_eq!((0..5000).filter(|_| begin(&mut outlet, &mut inlets)).count(), some);
        }
        // Some end while there is much room, and the others go on.
        (0..600).for_each(|_| end(&mut outlet, &mut inlets));
        assert_eq!((0..5000).filter(|_| begin(&mut outlet, &mut inlets)).count(), 600);
    }

    #[test]
    fn ends_of_calls_that_nobody_made_give_nothing() {
        let mut inlets = ReceiveWindows::default();
        assert_eq!(inlets.ended(SENDER, CALLS), None);
        assert!(inlets.admit(SENDER, 0, true));
        let given = (0..5000).filter_map(|_| inlets.ended(SENDER, CALLS)).map(|grant| grant.messages).sum::<u32>();
        assert!(given <= 1, "{given}");
        assert_eq!((0..5000).filter(|_| inlets.admit(SENDER, 0, true)).count(), MAX_CALLS as usize - 1);
    }

    proptest! {
        /// In every order of sending, taking and ending, and however late the credit comes, an honest
        /// sender is never refused and never waits for ever.
        #[test]
        fn an_honest_sender_is_never_refused_and_never_starves(
            sizes in prop::collection::vec(0usize..200_000, 1..200), late in 0usize..4, counted: bool,
        ) {
            let (mut outlet, mut inlets) = (SendWindow::default(), ReceiveWindows::default());
            let (mut queue, mut running, mut credit) = (VecDeque::new(), 0, VecDeque::new());
            for size in sizes {
                let mut turns = 0;
                while !outlet.take(size, counted) {
                    turns += 1;
                    prop_assert!(turns < 10_000, "starved");
                    if let Some(taken) = queue.pop_front() {
                        credit.extend(inlets.release(SENDER, Handle(1), taken));
                        running += usize::from(counted);
                    } else if running > 0 {
                        running -= 1;
                        credit.extend(inlets.ended(SENDER, Handle(1)));
                    }
                    if (credit.len() > late || queue.is_empty()) && let Some(grant) = credit.pop_front() {
                        outlet.give(&grant);
                    }
                }
                prop_assert!(inlets.admit(SENDER, size, counted), "refused");
                credit.extend(inlets.grant(SENDER, Handle(1)));
                queue.push_back(size);
            }
        }
    }
}
